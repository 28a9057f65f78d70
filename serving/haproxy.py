"""Run as HAProxy in Ray's place: edits the configuration Ray wrote, then becomes the real HAProxy.

Ray 2.60 renders HAProxy's configuration itself and leaves three things open that this closes: its statistics and
metrics ports listen on all interfaces; a request for a model without a live replica is parked at a fallback proxy
without limit; and HAProxy's own refusals come as plain text. `RAY_SERVE_HAPROXY_BINARY_PATH` names the small script
that `install` writes. Only the standard library: this starts at every reload. The file is edited in its place, because
Ray knows its HAProxy processes by the file's path on their command line.
"""

import json
import os
import re
import stat
import sys
from pathlib import Path

BINARY_ENV = "VGPU_SERVE_HAPROXY"
EDITED = "# Ray's configuration, edited by serving/haproxy.py\n"
BACKEND = re.compile(r"^backend http-(?P<model>\S+)$")
REPLICA = re.compile(r"^\s+server (?P<server>SERVE_REPLICA_\S+) ")
WILDCARD = re.compile(r"^(?P<bind>\s+bind )(\*|0\.0\.0\.0|\[?::\]?)?:(?P<port>\d+)")
ERROR_FILE = re.compile(r"^\s+errorfile ")
NOTHING_DEPLOYED = re.compile(r"^\s+http-request return status 404 ")

RETRY_AFTER_S = 5
# HAProxy's own refusals: phrase, reason, message, and whether trying again later helps.
REFUSALS = {
    400: ("Bad Request", "malformed", "this is no HTTP request", False),
    502: ("Bad Gateway", "replica_lost", "the replica died while it answered; the request may be sent again", True),
    503: ("Service Unavailable", "no_capacity", "no replica could be reached; one is being started", True),
    504: ("Gateway Timeout", "deadline_passed", "the replica did not answer in time", False),
}


def install(directory: Path, *, binary: str) -> dict[str, str]:
    """Write the script into `directory`; the environment that makes Ray start it."""
    script = directory / "haproxy"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {Path(__file__).resolve()} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"RAY_SERVE_HAPROXY_BINARY_PATH": str(script), BINARY_ENV: binary}


def edit(config: str, *, errors_directory: str) -> str:
    """Ray's configuration with every listener on loopback and refusals in the project's shape; an edited one as is."""
    if config.startswith(EDITED):
        return config
    sections: list[list[str]] = [[]]
    for line in config.splitlines():
        if line and not line[0].isspace():
            sections.append([])
        sections[-1].append(WILDCARD.sub(r"\g<bind>127.0.0.1:\g<port>", line))
    edited = [line for section in sections if section for line in _section(section, errors_directory)]
    return EDITED + "\n".join(edited) + "\n"


def error_page(status: int) -> str:
    """One complete HTTP response, as HAProxy's `errorfile` wants it."""
    phrase, reason, message, retry = REFUSALS[status]
    body = _body(message, reason, retry=retry)
    head = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: application/json",
        *([f"Retry-After: {RETRY_AFTER_S}"] if retry else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", body])


def _body(message: str, reason: str, *, retry: bool) -> str:
    return json.dumps({"error": message, "reason": reason, **({"retry_after_s": RETRY_AFTER_S} if retry else {})})


def _section(lines: list[str], errors_directory: str) -> list[str]:
    title, *rest = lines
    if title == "defaults":
        pages = [f"    errorfile {status} {errors_directory}/{status}.http" for status in REFUSALS]
        return [title, *pages, *(line for line in rest if not ERROR_FILE.match(line))]
    if title == "backend default_backend":
        waiting = _no_capacity("nothing is deployed yet; models are being started")
        return [title, *(waiting if NOTHING_DEPLOYED.match(line) else line for line in rest)]
    backend = BACKEND.match(title)
    # The gateway answers for no single model, and Ray's fallback proxy may stand in for it.
    if backend is None or backend["model"] == "gateway":
        return lines
    return [title, *_guard(backend["model"], rest), *rest]


def _guard(model: str, lines: list[str]) -> list[str]:
    """Answer 503 at once while no replica of the model is up."""
    replicas = [match["server"] for match in map(REPLICA.match, lines) if match]
    refusal = _no_capacity(f"no replica of {model} is up; one is being started")
    if not replicas:
        return [refusal]
    conditions = [f"    acl a_replica_is_up srv_is_up(http-{model}/{replica})" for replica in replicas]
    return [*conditions, f"{refusal} unless a_replica_is_up"]


def _no_capacity(message: str) -> str:
    body = _body(message, "no_capacity", retry=True).replace("\\", "\\\\").replace('"', '\\"')
    answer = f'content-type application/json string "{body}" hdr Retry-After {RETRY_AFTER_S}'
    return f"    http-request return status 503 {answer}"


def main(arguments: list[str]) -> None:
    """Edit the file behind `-f` and become HAProxy."""
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        errors_directory = path.parent / "errors"
        errors_directory.mkdir(exist_ok=True)
        for status in REFUSALS:
            (errors_directory / f"{status}.http").write_text(error_page(status))
        path.write_text(edit(path.read_text(), errors_directory=str(errors_directory)))
    binary = os.environ[BINARY_ENV]
    os.execv(binary, [binary, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
