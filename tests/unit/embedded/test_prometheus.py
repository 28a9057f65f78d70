"""What a Prometheus over a running `up` is told to scrape."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.embedded import prometheus
from autoscaler.embedded.prometheus import Scraping
from vgpu.core import names

STATE = {
    "url": "http://127.0.0.1:8000",
    "autoscaler_url": "http://127.0.0.1:9106",
    "ports": {"http": 8000, "autoscaler": 9106, "haproxy_metrics": 9101, "extender": 8888},
}


def pod(name: str, ip: str | None, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels or None}, "status": {"podIP": ip} if ip else {}}


def test_the_configuration_follows_the_file_of_targets_and_has_the_rules(tmp_path: Path) -> None:
    scraping = Scraping(targets=tmp_path / "targets.json", rules=[tmp_path / "alerts.yaml"], interval_s=1)
    assert yaml.safe_load(prometheus.render(scraping)) == {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(tmp_path / "alerts.yaml")],
        "scrape_configs": [
            {"job_name": "vgpu-serve", "file_sd_configs": [{"files": [str(tmp_path / "targets.json")]}]}
        ],
    }


def test_each_process_with_an_address_of_its_own_is_a_target() -> None:
    assert prometheus.fixed_targets(STATE) == [
        {"targets": ["127.0.0.1:9106"], "labels": {"job": "autoscaler", "namespace": "default"}},
        {"targets": ["127.0.0.1:9101"], "labels": {"job": "ingress", "namespace": "default"}},
        {"targets": ["127.0.0.1:8888"], "labels": {"job": "extender", "namespace": "default"}},
    ]


def test_a_switcher_is_a_target_where_there_is_one() -> None:
    *_, last = prometheus.fixed_targets({**STATE, "switcher_url": "http://127.0.0.1:9108"})
    assert last == {"targets": ["127.0.0.1:9108"], "labels": {"job": "switcher", "namespace": "default"}}


def test_workers_with_an_address_and_exporters_are_found() -> None:
    worker = pod("w1", "127.2.3.4", **{names.LABEL_POOL: "workers-a"})
    others = [pod("pending", None, **{names.LABEL_POOL: "workers-a"}), pod("stranger", "127.2.3.5")]
    addresses = [{"type": "InternalIP", "address": "127.2.0.1"}, {"type": "Hostname", "address": "n1"}]
    nodes: list[dict[str, Any]] = [{"status": {"addresses": addresses}}, {"metadata": {"name": "no address yet"}}]
    assert prometheus.found_targets([worker, *others], nodes) == [
        {"targets": ["127.2.3.4:9105"], "labels": {"job": "worker", "namespace": "default", "pod": "w1"}},
        {"targets": ["127.2.0.1:9400"], "labels": {"job": "exporter", "namespace": "default"}},
    ]


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    for text in ("[]", json.dumps([1])):
        prometheus.write(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("said", [None, "{}", "no JSON"])
def test_where_nothing_is_up_it_says_so(tmp_path: Path, said: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    if said is not None:
        (tmp_path / "up.json").write_text(said)
    assert prometheus.main([str(tmp_path)]) == 2
    assert "start it with `vgpu-serve up`" in capsys.readouterr().err
    assert not (tmp_path / "prometheus.yml").exists()
