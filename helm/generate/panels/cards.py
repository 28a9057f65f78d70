"""Cards shared by units, and what hands devices out: the extender and the device plugin."""

from dataclasses import replace

from helm.generate.panel import (
    COUNT,
    PER_SECOND,
    RATIO,
    RED,
    SECONDS,
    YELLOW,
    Panel,
    Row,
    graph,
    highest,
    of_namespace,
    of_node,
    quantile,
    query,
    rate,
    total,
)


def rows() -> tuple[Row, ...]:
    """Both are empty where no card is shared, or nodes are vGPU guests."""
    return (
        Row(title="Cards shared by units (extender)", panels=(*_units(), *_ledger(), *_extender())),
        Row(title="Device plugin", panels=(*_devices(), *_kubelet())),
    )


def _units() -> tuple[Panel, ...]:
    free, taken = of_node("vgpu_gpu_free_units"), of_node("vgpu_gpu_allocated_units")
    return (
        replace(
            graph(
                "Units by card",
                "1000 units are one card. Free units on many cards and none whole: see fragmentation.",
                COUNT,
                [
                    query(highest(free, "node", "gpu"), "free {{node}}/{{gpu}}"),
                    query(highest(taken, "node", "gpu"), "held {{node}}/{{gpu}}"),
                ],
            ),
            is_stacked=True,
        ),
        replace(
            graph(
                "Fragmentation",
                "The part of the free units that lies beside somebody, where no whole card fits. Near 1 while pods for"
                " whole cards wait: `vgpu-serve defragment` says which moves would free some.",
                RATIO,
                [query(highest(of_namespace("vgpu_fragmentation_ratio"), "namespace"), "{{namespace}}")],
            ),
            most=1,
        ),
        graph(
            "Free units",
            "Those of idle cards can become anything; those of shared cards only fractions.",
            COUNT,
            [
                query(highest(of_namespace("vgpu_units_free_on_idle_gpus"), "namespace"), "on idle cards"),
                query(highest(of_namespace("vgpu_units_free_on_shared_gpus"), "namespace"), "on shared cards"),
            ],
        ),
    )


def _ledger() -> tuple[Panel, ...]:
    panels = (
        graph(
            "Pods with units, by state",
            "assumed and binding are promises of a minute at most. Many that stay: the API server does not answer.",
            COUNT,
            [query(highest(of_namespace("vgpu_ledger_pods"), "state"), "{{state}}")],
        ),
        graph(
            "Ledger drift",
            "Pods about which ledger and annotations disagreed: must be 0, and is corrected at once. Rising: somebody"
            " else writes allocations; the extender's log names both pictures.",
            COUNT,
            [
                query(highest(of_namespace("vgpu_ledger_drift_pods"), "namespace"), "at the last comparison"),
                query(highest(of_namespace("vgpu_ledger_drift_repaired_total"), "namespace"), "since the start"),
            ],
        ),
        graph(
            "Oldest promise, and last comparison",
            "A promise above 60 s is a Binding nobody heard of; a comparison above 60 s ago: lists are not answered.",
            SECONDS,
            [
                query(highest(of_namespace("vgpu_ledger_oldest_promise_seconds"), "namespace"), "oldest promise"),
                query(
                    f"time() - {highest(of_namespace('vgpu_ledger_reconciled_timestamp_seconds'), 'namespace')}",
                    "since the last comparison",
                ),
            ],
        ),
        graph(
            "Nodes that take no fractions",
            "1 while refused; `/explain` of the extender says why.",
            COUNT,
            [query(highest(of_node("vgpu_node_refused"), "node"), "{{node}}")],
        ),
    )
    return tuple(replace(panel, width=6) for panel in panels)


def _extender() -> tuple[Panel, ...]:
    panels = (
        graph(
            "Answers of the extender",
            "no_room: pods wait for units. bind_failed: the API server refused. not_ready, busy: see the leader.",
            PER_SECOND,
            [query(total(rate(of_namespace("vgpu_extender_outcomes_total")), "outcome"), "{{outcome}}")],
        ),
        graph(
            "Time to answer the scheduler, p99",
            "filter decides in milliseconds; bind is mostly the API server's time. Above 5 s kube-scheduler gives up,"
            " unless its httpTimeout is longer.",
            SECONDS,
            [query(quantile(0.99, of_namespace("vgpu_extender_seconds_bucket"), "verb"), "{{verb}}")],
        ),
        graph(
            "Extenders that decide",
            "The sum must be 1. 0: pods that ask for fractions stay pending; /readyz of each says why.",
            COUNT,
            [query(total(of_namespace("vgpu_extender_ready"), "namespace"), "{{namespace}}")],
        ),
    )
    return tuple(replace(panel, width=6) for panel in panels)


def _devices() -> tuple[Panel, ...]:
    panels = (
        replace(
            graph(
                "Devices offered, by health",
                "Unhealthy devices are offered and not given out. All of a card at once: the driver lost it.",
                COUNT,
                [
                    query(
                        highest(of_node("vgpu_plugin_devices"), "node", "gpu", "health"), "{{node}} {{gpu}} {{health}}"
                    )
                ],
            ),
            is_stacked=True,
        ),
        graph(
            "Cards not offered, by reason",
            "No line: all cards are offered. The plugin's log has the remedy of each reason.",
            COUNT,
            [query(highest(of_node("vgpu_plugin_refused_gpus"), "node", "reason"), "{{node}} {{reason}}")],
        ),
        graph(
            "Registered, and label conflicts",
            "registered must be 1: otherwise the node offers nothing. A conflict of 1: vgpu.type and the devices"
            " disagree; correct the label or remove it.",
            COUNT,
            [
                query(highest(of_node("vgpu_plugin_registered"), "node"), "registered {{node}}"),
                query(highest(of_node("vgpu_plugin_label_conflict"), "node"), "conflict {{node}}"),
            ],
        ),
        _reading_age(),
    )
    return tuple(replace(panel, width=6) for panel in panels)


def _reading_age() -> Panel:
    return replace(
        graph(
            "Age of the last NVML reading",
            "Growing: a call into the driver hangs, and the health of devices is not known.",
            SECONDS,
            [query(highest(of_node("vgpu_plugin_reading_age_seconds"), "node"), "{{node}}")],
        ),
        steps=((30, YELLOW), (120, RED)),
    )


def _kubelet() -> tuple[Panel, ...]:
    return (
        graph(
            "Calls of the kubelet",
            "outcome is ok or the reason of a refusal; a refused Allocate keeps a pod from starting.",
            PER_SECOND,
            [query(total(rate(of_node("vgpu_plugin_calls_total")), "call", "outcome"), "{{call}} {{outcome}}")],
        ),
        graph(
            "Registrations",
            "One at each start of plugin or kubelet. Many: the kubelet restarts, or refuses; see its log.",
            PER_SECOND,
            [query(total(rate(of_node("vgpu_plugin_registrations_total")), "node", "outcome"), "{{node}} {{outcome}}")],
        ),
        graph(
            "Passes over the node that failed",
            "The API server did not let the plugin read or write its node; check its ClusterRole.",
            PER_SECOND,
            [query(total(rate(of_node("vgpu_plugin_api_failures_total")), "node"), "{{node}}")],
        ),
    )
