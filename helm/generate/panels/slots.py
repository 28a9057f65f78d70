"""Nodes and slots: utilisation, saturation, errors (USE), and on shared cards whose units are whose."""

from dataclasses import replace

from helm.generate.panel import (
    BYTES,
    COUNT,
    GREEN,
    PER_SECOND,
    RATIO,
    RED,
    SECONDS,
    YELLOW,
    Panel,
    Row,
    graph,
    highest,
    of_model,
    of_node,
    or_zero,
    query,
    rate,
    total,
)

# A worker says on which slot it runs; the join gives its other series that label.
ON_SLOT = "on (namespace, instance) group_left (slot)"


def rows() -> tuple[Row, ...]:
    """USE, then the slots themselves."""
    return (
        Row(title="Utilisation", panels=(_engine(), _entitled_by_slot(), _entitled_by_model(), _memory(), _bytes())),
        Row(title="Saturation", panels=(_queue(), _late(), _slots())),
        Row(title="Errors", panels=(_healthy(), _nvml(), _missing(), _age())),
    )


def _worker_slot() -> str:
    return f"max by (namespace, instance, slot) ({of_model('vgpu_serve_worker_info')})"


def _engine() -> Panel:
    return replace(
        graph(
            "Engine busy, of the whole card",
            "The physical engine's busy part by slot, from NVML. Never a target: a slot entitled to an eighth of a card"
            " is full at 12.5 %. Compare it with the use of the share beside it.",
            RATIO,
            [query(highest(of_node("vgpu_slot_engine_busy_ratio"), "node", "slot", "profile"), "{{slot}} {{profile}}")],
        ),
        most=1,
    )


def _entitled_by_slot() -> Panel:
    busy = f"sum by (namespace, instance, model) ({rate(of_model('vgpu_serve_engine_busy_seconds_total'))})"
    return replace(
        graph(
            "Use of the share, by slot",
            "Time with a batch on the engine, waits for time slices included: 1 is a full slot, whatever its share of"
            " the card. At 1 only more replicas, or a larger slot, help.",
            RATIO,
            [query(f"{busy} * {ON_SLOT} {_worker_slot()}", "{{slot}} {{model}}")],
        ),
        steps=((0.7, YELLOW), (0.95, RED)),
    )


def _entitled_by_model() -> Panel:
    signal = of_model("vgpu_serve_signal", 'signal="utilization_ratio"')
    return replace(
        graph(
            "Use of the entitlement, by model",
            "What the model's slots use of the engine part that the card's scheduler policy entitles them to: the"
            " signal that the autoscaler decides by. No line: it could not be said; see missing readings.",
            RATIO,
            [query(highest(signal, "model"), "{{model}}")],
        ),
        steps=((0.7, YELLOW), (0.95, RED)),
    )


def _memory() -> Panel:
    by = ("node", "slot", "profile")
    used = highest(of_node("vgpu_slot_framebuffer_used_bytes"), *by)
    return replace(
        graph(
            "Framebuffer in use",
            "Of the slot's own framebuffer. Near 1: the next larger batch may fail with out_of_memory; choose a larger"
            " slot or a smaller max_batch_size.",
            RATIO,
            [query(f"{used} / {highest(of_node('vgpu_slot_framebuffer_total_bytes'), *by)}", "{{slot}}")],
        ),
        width=12,
        most=1,
        steps=((0.85, YELLOW), (0.95, RED)),
    )


def _bytes() -> Panel:
    return replace(
        graph(
            "Framebuffer in use, bytes",
            "By slot; on a shared card each tenant is a slot beside the card itself.",
            BYTES,
            [query(highest(of_node("vgpu_slot_framebuffer_used_bytes"), "node", "slot"), "{{slot}}")],
        ),
        width=12,
    )


def _queue() -> Panel:
    queued = f"sum by (namespace, instance, model) ({of_model('vgpu_serve_queued_rows')})"
    return graph(
        "Rows waiting, by slot",
        "One slot far above the others of its model: its card is shared with a heavy neighbour, or it is slow; the"
        " autoscaler moves replicas off crowded cards, see move_interference on the decisions dashboard.",
        COUNT,
        [query(f"{queued} * {ON_SLOT} {_worker_slot()}", "{{slot}} {{model}}")],
    )


def _late() -> Panel:
    return graph(
        "Batches that the host finished late",
        "Only on emulated slots: the real computation took longer than the emulated engine's time, so the machine is"
        " too slow for this load and latencies are not the model's.",
        PER_SECOND,
        [query(total(rate(of_model("vgpu_serve_host_late_total")), "model"), "{{model}}")],
    )


def _slots() -> Panel:
    return replace(
        graph(
            "Slots, used and free",
            "As the autoscaler counts them, by node. None free while replicas are unplaced: add nodes, or lower"
            " max_replicas of what matters less.",
            COUNT,
            [query(highest(of_node("vgpu_serve_slots"), "node", "state"), "{{node}} {{state}}")],
        ),
        is_stacked=True,
    )


def _healthy() -> Panel:
    return replace(
        graph(
            "Devices that answer",
            "1 while the driver answers. 0: nothing new is placed there. Look at dmesg for Xid errors on the node,"
            " then drain it.",
            COUNT,
            [query(f"min by (node, slot) ({of_node('vgpu_device_healthy')})", "{{slot}}")],
        ),
        width=6,
        most=1,
        lowest_colour=RED,
        steps=((1, GREEN),),
    )


def _nvml() -> Panel:
    counted = total(rate(of_node("vgpu_nvml_errors_total")), "node", "code")
    return replace(
        graph(
            "NVML errors by code",
            "A second; a node that reports and met none shows 0. Code 3 (not supported) is a fact about the device, 15"
            " (GPU is lost) and 999 (unknown) mean that it is gone.",
            PER_SECOND,
            [query(or_zero(counted, total(of_node("vgpu_sample_age_seconds"), "node")), "{{node}} {{code}}")],
        ),
        width=6,
    )


def _missing() -> Panel:
    counted = total(of_node("vgpu_reading_missing"), "node", "reading", "reason")
    return replace(
        graph(
            "Readings that are missing",
            "By reading and reason; 0 for a node that lacks none. stale: the driver hangs. not_supported: MIG devices"
            " do not say how busy they are.",
            COUNT,
            [
                query(
                    or_zero(counted, total(of_node("vgpu_sample_age_seconds"), "node")),
                    "{{node}} {{reading}} {{reason}}",
                )
            ],
        ),
        width=6,
    )


def _age() -> Panel:
    return replace(
        graph(
            "Age of the last sample",
            "The exporter samples once a second; above 5 s its readings are called stale and shown no more. Growing:"
            " a call into the driver hangs; see dmesg of the node.",
            SECONDS,
            [query(highest(of_node("vgpu_sample_age_seconds"), "node"), "{{node}}")],
        ),
        width=6,
        steps=((5, YELLOW), (30, RED)),
    )
