"""Run as HAProxy in Ray's place: edits the configuration Ray wrote, then becomes the real HAProxy.

Ray 2.60 renders HAProxy's configuration itself and leaves three things open that this closes: its ports listen on all
interfaces (here on loopback, or where `install` is told: a pod has its own address); a request for a model without a
live replica is parked at a fallback proxy without limit; and HAProxy's own refusals come as plain text.
`RAY_SERVE_HAPROXY_BINARY_PATH` names the small script that `install` writes. Only the standard library: this starts at
every reload. The file is edited in its place, because Ray knows its HAProxy processes by the file's path on their
command line.

What the autoscaler needs to wake a model is added: a request that asks a model something (POST, as the replicas count)
while no replica of it is up goes to a backend of its own, `asleep-MODEL`. It refuses at once, and HAProxy's own metrics
count its requests. When to come back is told to HAProxy on the metrics port, `PUT /starts?MODEL=SECONDS`; a process
that was not told says RETRY_AFTER_S.
"""

import json
import os
import re
import stat
import sys
from pathlib import Path

BINARY_ENV = "VGPU_SERVE_HAPROXY"
HOST_ENV = "VGPU_SERVE_HAPROXY_HOST"
LOOPBACK = "127.0.0.1"
EDITED = "# Ray's configuration, edited by serving/haproxy.py\n"
WILDCARD = re.compile(r"^(?P<bind>\s+bind )(\*|0\.0\.0\.0|\[?::\]?)?:(?P<port>\d+)")
ERROR_FILE = re.compile(r"^\s+errorfile ")
NOT_FOUND = re.compile(r"^\s+http-request return status 404 ")
FALLBACK = re.compile(r"^\s+server .* backup$")
# How Ray sends a model's requests to its backend.
USE_BACKEND = re.compile(r"^(?P<indent>\s+)use_backend http-(?P<model>\S+) if is_http-(?P=model)$")
MODEL_BACKEND = re.compile(r"^backend http-(?P<model>\S+)$")
METRICS_FRONTEND = "frontend prometheus"
HTTP_FRONTEND = "frontend http_frontend"
# The gateway answers for no single model, and Ray's fallback proxy may stand in for it.
GATEWAY_BACKEND = "backend http-gateway"

# Only a request that HAProxy holds whole (up to its buffer, 16 KiB) can be asked again of another replica, and clients
# commonly send head and body apart. Without this, one left unanswered on a reused connection is dropped in silence.
WHOLE_REQUESTS = "    option http-buffer-request"

RETRY_AFTER_S = 5
NO_CAPACITY = "no replica of this model is up; one is being started"
# HAProxy's own refusals: phrase, reason, message, and whether trying again later helps.
REFUSALS = {
    502: ("Bad Gateway", "replica_lost", "the replica died while it answered; the request may be sent again", True),
    503: ("Service Unavailable", "no_capacity", NO_CAPACITY, True),
    504: ("Gateway Timeout", "deadline_passed", "the replica did not answer in time", False),
}


def install(directory: Path, *, binary: str, host: str = LOOPBACK) -> dict[str, str]:
    """Write the script into `directory`; the environment that makes Ray start it.

    Clients and whoever reads HAProxy's metrics connect to `host`.
    """
    script = directory / "haproxy"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {Path(__file__).resolve()} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"RAY_SERVE_HAPROXY_BINARY_PATH": str(script), BINARY_ENV: binary, HOST_ENV: host}


def edit(config: str, *, directory: str, host: str = LOOPBACK) -> str:
    """Ray's configuration with listeners that stay inside and refusals in the project's shape; an edited one as is.

    `directory` holds the error pages. Clients' port and the metrics' listen on `host`, all others on loopback.
    """
    if config.startswith(EDITED):
        return config
    sections: list[list[str]] = [[]]
    for line in config.splitlines():
        if line and not line[0].isspace():
            sections.append([])
        here = host if sections[-1] and sections[-1][0] in (HTTP_FRONTEND, METRICS_FRONTEND) else LOOPBACK
        sections[-1].append(WILDCARD.sub(rf"\g<bind>{here}:\g<port>", line))
    routed = {found["model"] for line in config.splitlines() if (found := USE_BACKEND.match(line))}
    backends = [found["model"] for title, *_ in filter(None, sections) if (found := _model_backend(title))]
    # Where no request is led past the count, none must be shown: a zero would say that nobody asks.
    models = [model for model in backends if model in routed]
    edited = [line for section in sections if section for line in _section(section, directory, models)]
    edited += [line for model in models for line in _asleep(model)]
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


def _section(lines: list[str], directory: str, models: list[str]) -> list[str]:
    title, *rest = lines
    if title == "defaults":
        pages = [f"    errorfile {status} {directory}/{status}.http" for status in REFUSALS]
        return [title, WHOLE_REQUESTS, *pages, *(line for line in rest if not ERROR_FILE.match(line))]
    if title == "backend default_backend":
        return [title, *(_nothing_deployed() if NOT_FOUND.match(line) else line for line in rest)]
    if title == METRICS_FRONTEND and models:
        return [*lines, *_starts_told(models)]
    if title == HTTP_FRONTEND:
        return [each for line in lines for each in _asleep_first(line)]
    if _model_backend(title):
        # Disabled and not dropped: Ray looks for it among HAProxy's servers.
        return [f"{line} disabled" if FALLBACK.match(line) else line for line in lines]
    return lines


def _model_backend(title: str) -> re.Match[str] | None:
    return None if title == GATEWAY_BACKEND else MODEL_BACKEND.match(title)


def _asleep_first(line: str) -> list[str]:
    """Ray's way to a model's backend, and before it the way that is taken while the model has no replica."""
    found = USE_BACKEND.match(line)
    if found is None or f"backend http-{found['model']}" == GATEWAY_BACKEND:
        return [line]
    model = found["model"]
    asleep = f"use_backend asleep-{model} if is_http-{model} METH_POST {{ nbsrv(http-{model}) eq 0 }}"
    return [f"{found['indent']}{asleep}", line]


def _asleep(model: str) -> list[str]:
    """The backend of a model that has no replica: its requests are refused, and counted by being its."""
    start_s = f"%[var({_start_variable(model)},{RETRY_AFTER_S})]"
    body = json.dumps({"error": NO_CAPACITY, "reason": "no_capacity"})[:-1] + f', "retry_after_s": {start_s}}}'
    answer = f'content-type application/json lf-string "{_escaped(body)}" hdr Retry-After {start_s}'
    return [f"backend asleep-{model}", f"    http-request return status 503 {answer}"]


def _starts_told(models: list[str]) -> list[str]:
    """Take in when a replica of each model is expected, in whole seconds."""
    is_number = "-m reg ^[1-9][0-9]{0,4}$"
    return [
        *(
            f"    http-request set-var({_start_variable(model)}) url_param({model}),add(0) "
            f"if {{ path /starts }} {{ url_param({model}) {is_number} }}"
            for model in models
        ),
        "    http-request return status 204 if { path /starts }",
    ]


def _start_variable(model: str) -> str:
    """HAProxy's variable of the whole process; its names have no dashes, and the models' no underscores."""
    return f"proc.start_{model.replace('-', '_')}"


def _nothing_deployed() -> str:
    """A path of no application: the gateway would have answered, so it is still to come."""
    body = _body("nothing is deployed yet; models are being started", "no_capacity", retry=True)
    answer = f'content-type application/json string "{_escaped(body)}" hdr Retry-After {RETRY_AFTER_S}'
    return f"    http-request return status 503 {answer}"


def _escaped(text: str) -> str:
    """Text as it stands between the double quotes of a configuration."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def main(arguments: list[str]) -> None:
    """Edit the file behind `-f` and become HAProxy."""
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        for status in REFUSALS:
            (path.parent / f"{status}.http").write_text(error_page(status))
        path.write_text(edit(path.read_text(), directory=str(path.parent), host=os.environ.get(HOST_ENV, LOOPBACK)))
    binary = os.environ[BINARY_ENV]
    os.execv(binary, [binary, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
