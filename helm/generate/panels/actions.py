"""How fast a decision becomes replicas, what failed on the way, and how the loop itself does."""

from dataclasses import replace

from helm.generate.causes import STALLED_S
from helm.generate.panel import (
    COUNT,
    PER_SECOND,
    RED,
    SECONDS,
    YELLOW,
    Panel,
    Row,
    graph,
    highest,
    of_model,
    of_namespace,
    or_zero,
    query,
    rate,
    total,
)

READY = "vgpu_serve_time_to_ready_seconds"


def rows() -> tuple[Row, ...]:
    """From the decision to the replica, then the loop."""
    return (
        Row(title="From decision to ready", panels=(_time_to_ready(), _workers(), _failed(), _durations())),
        Row(
            title="The loop", panels=(_leader(), _last_tick(), _tick_duration(), _failed_ticks(), _problems(), _files())
        ),
    )


def _time_to_ready() -> Panel:
    def quantile(ratio: float) -> str:
        # A start is rare: over the rate interval there is none at all most of the time.
        buckets = f"increase({of_model(f'{READY}_bucket')}[1h])"
        return f"histogram_quantile({ratio:g}, {total(buckets, 'le', 'model', 'stage')})"

    return replace(
        graph(
            "Time from decision to ready, starts of the last hour",
            "worker: until its pod is ready. replica: from there until the model serves. total: what clients wait for."
            " worker grows: images are pulled or nodes are added. replica grows: models are loaded from afar.",
            SECONDS,
            [
                query(quantile(0.5), "p50 {{model}} {{stage}}"),
                query(quantile(0.95), "p95 {{model}} {{stage}}"),
            ],
        ),
        width=12,
        is_latency=True,
    )


def _workers() -> Panel:
    return replace(
        graph(
            "Workers by pool",
            "wanted above ready and nothing starting: pods do not come; `kubectl get pods -l vgpu-serve.io/pool` and"
            " `kubectl describe` say why.",
            COUNT,
            [query(highest(of_namespace("vgpu_serve_workers"), "pool", "state"), "{{pool}} {{state}}")],
        ),
        width=12,
    )


def _failed() -> Panel:
    return replace(
        graph(
            "Actions that failed",
            "A second. `vgpu-serve status` and the autoscaler's log name the action and the answer; 403 is RBAC, 409"
            " another writer, and Ray Serve's are the head's.",
            PER_SECOND,
            [query(total(rate(of_namespace("vgpu_serve_actuation_errors_total")), "namespace"), "{{namespace}}")],
        ),
        width=12,
        steps=((0.001, YELLOW), (0.1, RED)),
    )


def _durations() -> Panel:
    buckets = f"increase({of_namespace('vgpu_serve_actuation_duration_seconds_bucket')}[1h])"
    return replace(
        graph(
            "Duration of actions, p95 of the last hour",
            "Calls to the API server and to Ray Serve. Above a second: that side is busy, and every tick waits for it.",
            SECONDS,
            [query(f"histogram_quantile(0.95, {total(buckets, 'le', 'action')})", "{{action}}")],
        ),
        width=12,
    )


def _leader() -> Panel:
    return replace(
        graph(
            "Who leads",
            "The sum must be 1. 0: nobody may write; the Lease tells who held it. A run with --dry-run never leads.",
            COUNT,
            [query(highest(of_namespace("vgpu_serve_leader"), "namespace", "instance"), "{{instance}}")],
        ),
        is_stacked=True,
    )


def _last_tick() -> Panel:
    age = f"time() - {highest(of_namespace('vgpu_serve_last_tick_timestamp_seconds'), 'namespace', 'instance')}"
    return replace(
        graph(
            "Since the last tick",
            "A saw-tooth up to the interval (5 s by default). Growing: the loop stands still; /healthz fails and the"
            " kubelet restarts it.",
            SECONDS,
            [query(age, "{{instance}}")],
        ),
        steps=((STALLED_S, RED),),
    )


def _tick_duration() -> Panel:
    buckets = rate(of_namespace("vgpu_serve_tick_duration_seconds_bucket"))
    return graph(
        "Duration of a tick, p95",
        "Scrapes, reads, the decision and its actions. Near the interval: decisions come late; lengthen it.",
        SECONDS,
        [query(f"histogram_quantile(0.95, {total(buckets, 'le', 'instance')})", "{{instance}}")],
    )


def _failed_ticks() -> Panel:
    return replace(
        graph(
            "Ticks that a defect ended",
            "Must be 0. The log has the traceback, and nothing was changed in such a tick.",
            PER_SECOND,
            [query(total(rate(of_namespace("vgpu_serve_failed_ticks_total")), "instance"), "{{instance}}")],
        ),
        steps=((0.001, RED),),
    )


def _problems() -> Panel:
    return graph(
        "Problems of the last tick",
        "What could not be read or did not make sense; `vgpu-serve status` lists them in words.",
        COUNT,
        [query(highest(of_namespace("vgpu_serve_problems"), "instance"), "{{instance}}")],
    )


def _files() -> Panel:
    changed = total(of_namespace("vgpu_serve_models_file_changes_total"), "result")
    deployed = total(of_namespace("vgpu_serve_deployer_changes_total"), "result")
    refused = of_namespace("vgpu_serve_models_file_refused")
    return graph(
        "Changes of the models file",
        "Taken up and refused since the start, by the autoscaler and by the deployer of Ray's applications. The second"
        " behind the first for long: the deployer's log says why.",
        COUNT,
        [
            query(or_zero(changed, highest(refused, "namespace")), "autoscaler {{result}}"),
            query(
                or_zero(deployed, highest(of_namespace("vgpu_serve_deployer_file_refused"), "namespace")),
                "deployer {{result}}",
            ),
        ],
    )
