"""The causes below serving: cards, the exporter, the device plugin, the ledger of shared cards."""

from helm.generate.alerts import PAGE, TICKET, Alert

SAMPLE_OLD_S = 30
"""The exporter samples once a second, and calls a reading stale after 5 s."""


def cards() -> list[Alert]:
    """Whether the cards answer."""
    plugin = 'sum by (namespace, node) (vgpu_plugin_devices{health="unhealthy"}) > 0'
    return [
        Alert(
            name="VgpuDeviceUnhealthy",
            expr=f"count by (namespace, node) (vgpu_device_healthy == 0)\nor {plugin}",
            held="2m",
            severity=TICKET,
            summary="A card of {{ $labels.node }} does not answer",
            description="{{ $value }} devices of {{ $labels.node }} have not answered the driver for 2 minutes; "
            "nothing new is placed there.",
        ),
        Alert(
            name="VgpuExporterStale",
            expr=f"max by (namespace, node) (vgpu_sample_age_seconds) > {SAMPLE_OLD_S}",
            held="2m",
            severity=TICKET,
            summary="{{ $labels.node }} gives no new readings",
            description="The last sample of {{ $labels.node }} is {{ $value | humanizeDuration }} old; a call into the "
            "driver hangs.",
        ),
    ]


def device_plugins() -> list[Alert]:
    """Whether nodes offer what they have."""
    return [
        Alert(
            name="VgpuDevicePluginUnregistered",
            expr="min by (namespace, node) (vgpu_plugin_registered) == 0",
            held="5m",
            severity=TICKET,
            summary="The kubelet of {{ $labels.node }} does not know the device plugin",
            description="For 5 minutes {{ $labels.node }} has offered no devices ({{ $value }}: not registered); no "
            "pod that asks for one starts there.",
        ),
        Alert(
            name="VgpuDevicePluginLabelConflict",
            expr="max by (namespace, node) (vgpu_plugin_label_conflict) == 1",
            held="10m",
            severity=TICKET,
            summary="Label and devices of {{ $labels.node }} disagree",
            description="vgpu.type of {{ $labels.node }} names another profile than its devices have ({{ $value }}: "
            "conflict); pods that select the label get the wrong slot or none.",
        ),
    ]


def shared_cards() -> list[Alert]:
    """Whether fractions are placed, and the books are right."""
    return [
        Alert(
            name="VgpuLedgerDrift",
            expr=(
                "sum by (namespace) (increase(vgpu_ledger_drift_repaired_total[30m])) > 0\n"
                "or max by (namespace) (vgpu_ledger_drift_pods) > 0"
            ),
            held="0m",
            severity=TICKET,
            summary="The extender's ledger and the pods' annotations disagreed",
            description="{{ $value | humanize }} pods in the last 30 minutes; corrected already, but nobody else "
            "should write allocations.",
        ),
        Alert(
            name="VgpuExtenderNotOneLeader",
            # One that is gone has no series to say so: then what it said within the last hour does.
            expr=(
                "sum by (namespace) (vgpu_extender_ready) != 1\n"
                "or 0 * (max by (namespace) (max_over_time(vgpu_extender_ready[1h])) "
                "unless on (namespace) vgpu_extender_ready)"
            ),
            held="1m",
            severity=PAGE,
            summary="{{ $value }} replicas of the extender decide",
            description="Exactly one must; {{ $value }} do. With none, pods that ask for a fraction of a card stay "
            "pending; two promise the same units.",
        ),
    ]
