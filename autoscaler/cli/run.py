"""`vgpu-serve run`: the autoscaler's own process."""

import logging
import re
from pathlib import Path
from typing import Annotated

import typer

from autoscaler import process

RAY_CLUSTER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # also a label's value, by which pods are found


def _ray_cluster(workers: str) -> str | None:
    """The RayCluster that `--workers` names; None for Deployments."""
    if workers == "deployments":
        return None
    kind, _, name = workers.partition(":")
    if kind != "kuberay" or not RAY_CLUSTER_NAME.fullmatch(name):
        raise typer.BadParameter(f"{workers} is neither deployments nor kuberay:NAME", param_hint="--workers")
    return name


def run(
    models: Annotated[
        Path, typer.Option(help="The models file; followed while it changes.", exists=True, dir_okay=False)
    ],
    ray_url: Annotated[str, typer.Option(help="Ray's dashboard, where its REST API answers.")],
    kubeconfig: Annotated[Path | None, typer.Option(help="The pod's own service account by default.")] = None,
    namespace: str = "default",
    ray_token_file: Annotated[Path | None, typer.Option(help="File with Ray's token.")] = None,
    ingress_url: Annotated[
        str | None, typer.Option(help="HAProxy's metrics port, http://HOST:PORT; needed for min_replicas 0.")
    ] = None,
    listen: Annotated[
        str, typer.Option(help="HOST:PORT of /metrics, /v1/state, /healthz and /readyz.")
    ] = "127.0.0.1:9106",
    interval_s: Annotated[float, typer.Option(min=0.2, max=300)] = 5.0,
    journal: Annotated[Path | None, typer.Option(help="Append every tick to this file.")] = None,
    workers: Annotated[str, typer.Option(help="deployments, or kuberay:NAME of a RayCluster.")] = "deployments",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and record, change nothing.")] = False,
) -> None:
    """The autoscaler itself, against any cluster."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"{listen} is not HOST:PORT", param_hint="--listen")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request at INFO
    settings = process.Settings(
        kubeconfig=kubeconfig,
        namespace=namespace,
        ray_url=ray_url,
        ray_token_file=ray_token_file,
        ingress_url=ingress_url,
        listen_host=host.strip("[]"),
        listen_port=int(port),
        interval_s=interval_s,
        journal=journal,
        dry_run=dry_run,
        ray_cluster=_ray_cluster(workers),
    )
    process.run(models, settings)
