"""Run as HAProxy in Ray's place: edits the configuration Ray wrote, then becomes the real HAProxy.

Ray 2.60 renders HAProxy's configuration itself and leaves three things open that this closes:
its statistics and metrics ports listen on all interfaces; a request for a model without a live replica is parked at a
fallback proxy without limit; and HAProxy's own refusals come as plain-text 500. `RAY_SERVE_HAPROXY_BINARY_PATH` names
the small script that `install` writes. Only the standard library: this starts at every reload.
"""

import json
import os
import re
import stat
import sys
from pathlib import Path

BINARY_ENV = "VGPU_SERVE_HAPROXY"
BACKEND = re.compile(r"^backend http-(?P<model>\S+)$")
REPLICA = re.compile(r"^\s+server (?P<server>SERVE_REPLICA_\S+) ")

REFUSALS = {
    502: ("Bad Gateway", "replica_lost", "the replica died while it answered; the request may be sent again"),
    503: ("Service Unavailable", "no_capacity", "no replica could be reached; one is being started"),
    504: ("Gateway Timeout", "deadline_passed", "the replica did not answer in time"),
}
RETRY_AFTER_S = 5


def install(directory: Path, *, binary: str) -> dict[str, str]:
    """Write the script into `directory`; the environment that makes Ray start it."""
    script = directory / "haproxy"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {Path(__file__).resolve()} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"RAY_SERVE_HAPROXY_BINARY_PATH": str(script), BINARY_ENV: binary}


def rewrite(config: str, *, errors_directory: str) -> str:
    """Ray's configuration with every listener on loopback and refusals in the project's shape."""
    lines: list[str] = []
    block: list[str] = []
    for line in [*config.splitlines(), ""]:
        starts_section = bool(line) and not line[0].isspace()
        if starts_section:
            lines += _backend(block)
            block = []
        block.append(_on_loopback(_own_error_page(line, errors_directory)))
    lines += _backend(block)
    return "\n".join(lines) + "\n"


def error_page(status: int) -> str:
    """One complete HTTP response, as HAProxy's `errorfile` wants it."""
    phrase, reason, message = REFUSALS[status]
    body = json.dumps({"error": message, "reason": reason, "retry_after_s": RETRY_AFTER_S})
    head = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: application/json",
        f"Retry-After: {RETRY_AFTER_S}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", body])


def _on_loopback(line: str) -> str:
    return re.sub(r"^(\s+bind )(?:\*|0\.0\.0\.0)?:(\d+)", r"\g<1>127.0.0.1:\2", line)


def _own_error_page(line: str, directory: str) -> str:
    return re.sub(r"^(\s+errorfile (\d+)) .*$", rf"\g<1> {directory}/\g<2>.http", line)


def _backend(block: list[str]) -> list[str]:
    """A model's backend answers 503 at once while none of its replicas is up; the gateway's is left as it is."""
    opening = BACKEND.match(block[0]) if block else None
    if opening is None or opening["model"] == "gateway":
        return block
    name = f"http-{opening['model']}"
    replicas = [match["server"] for match in map(REPLICA.match, block) if match]
    body = json.dumps(
        {
            "error": f"no replica of {opening['model']} is up; one is being started",
            "reason": "no_capacity",
            "retry_after_s": RETRY_AFTER_S,
        }
    ).replace('"', '\\"')
    refusal = f'    http-request return status 503 content-type application/json string "{body}" hdr Retry-After {RETRY_AFTER_S}'
    conditions = [f"    acl a_replica_is_up srv_is_up({name}/{replica})" for replica in replicas]
    guard = [*conditions, f"{refusal} unless a_replica_is_up"] if replicas else [refusal]
    return [block[0], *guard, *block[1:]]


def main(arguments: list[str]) -> None:
    """Rewrite the file behind `-f` and become HAProxy."""
    path = Path(arguments[arguments.index("-f") + 1])
    errors_directory = path.parent / "errors"
    errors_directory.mkdir(exist_ok=True)
    for status in REFUSALS:
        (errors_directory / f"{status}.http").write_text(error_page(status))
    rewritten = path.with_suffix(".loopback.cfg")
    rewritten.write_text(rewrite(path.read_text(), errors_directory=str(errors_directory)))
    binary = os.environ[BINARY_ENV]
    os.execv(binary, [binary, *(str(rewritten) if argument == str(path) else argument for argument in arguments)])


if __name__ == "__main__":
    main(sys.argv[1:])
