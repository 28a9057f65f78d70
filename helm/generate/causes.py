"""The causes behind broken promises: the control loop, its actions, its file, and capacity."""

from helm.generate.alerts import OF_MODEL, PAGE, TICKET, Alert

STALE_S = 30
"""Three times the age at which a decision does without a reading (policy.max_age_s, 10 s by default)."""
STALLED_S = 60
"""Twelve of the default 5 s intervals."""
FLAPS_PER_H = 6
OF_LEADER = "and on (namespace, instance) vgpu_serve_leader == 1"
"""Only what the autoscaler that acts says: others may decide otherwise, for nobody does what they decide."""
FAILED_STATES = "deploy_failed|unhealthy"
"""Ray Serve's words for an application that does not come up, or is not what was deployed any more."""


def leadership() -> list[Alert]:
    """Whether exactly one autoscaler may act. A namespace in which none reports is known by its deployer."""
    deployed = "vgpu_serve_deployer_file_refused"
    return [
        Alert(
            name="VgpuServeNoLeader",
            expr=(
                "count by (namespace) (vgpu_serve_leader) unless on (namespace) vgpu_serve_leader == 1\n"
                f"or 0 * (max by (namespace) ({deployed}) unless on (namespace) vgpu_serve_leader)\n"
                f"or 0 * absent(vgpu_serve_leader) unless on () {deployed}"
            ),
            held="2m",
            severity=PAGE,
            summary="No autoscaler leads",
            description=(
                "{{ $value }} replicas of the autoscaler report, none leads: replica counts stay as they are, and "
                "sleeping models are not woken. An autoscaler run with --dry-run never leads."
            ),
        ),
        Alert(
            name="VgpuServeTwoLeaders",
            expr="sum by (namespace) (vgpu_serve_leader) > 1",
            held="1m",
            severity=PAGE,
            summary="{{ $value }} autoscalers lead at once",
            description="{{ $value }} autoscalers in {{ $labels.namespace }} say that they lead; they undo each other.",
        ),
    ]


def loop() -> list[Alert]:
    """Whether it decides and acts."""
    return [
        Alert(
            name="VgpuServeLoopStalled",
            expr=f"time() - vgpu_serve_last_tick_timestamp_seconds > {STALLED_S}",
            held="1m",
            severity=PAGE,
            summary="The autoscaler's loop stands still",
            description=(
                "The last tick of {{ $labels.instance }} was {{ $value | humanizeDuration }} ago; its counts stay as "
                f"they are. Above {STALLED_S} s it is stalled."
            ),
        ),
        Alert(
            name="VgpuServeTicksFailing",
            expr="sum by (namespace) (increase(vgpu_serve_failed_ticks_total[10m])) > 2",
            held="5m",
            severity=TICKET,
            summary="Defects end the autoscaler's ticks",
            description="{{ $value | humanize }} ticks of the last 10 minutes ended in a defect and changed nothing.",
        ),
        Alert(
            name="VgpuServeActuationFailing",
            expr="sum by (namespace) (increase(vgpu_serve_actuation_errors_total[10m])) > 2",
            held="5m",
            severity=TICKET,
            summary="The autoscaler's actions fail",
            description="{{ $value | humanize }} actions of the last 10 minutes could not be carried out.",
        ),
    ]


def readings() -> list[Alert]:
    """Whether decisions have what they are made from."""
    return [
        Alert(
            name="VgpuServeSignalStale",
            expr=f"max by (namespace, source) (vgpu_serve_signal_age_seconds) > {STALE_S}",
            held="2m",
            severity=TICKET,
            summary="Readings of {{ $labels.source }} are old",
            description=(
                "The oldest reading of {{ $labels.source }} is {{ $value | humanizeDuration }} old; decisions do "
                "without readings older than policy.max_age_s (10 s by default) and scale nothing down."
            ),
        ),
        Alert(
            name="VgpuServeReadingsMissing",
            expr=f"{OF_MODEL} (vgpu_serve_signals_missing) > 0",
            held="10m",
            severity=TICKET,
            summary="Decisions about {{ $labels.model }} lack readings",
            description="{{ $value }} readings about {{ $labels.model }} have been missing for 10 minutes; it "
            "keeps its replicas, whatever the load.",
        ),
    ]


def files() -> list[Alert]:
    """Whether what is configured is what runs."""
    refused = {"autoscaler": "vgpu_serve_models_file_refused", "deployer": "vgpu_serve_deployer_file_refused"}
    return [
        Alert(
            name="VgpuServeModelsFileRefused",
            expr="\nor ".join(
                f'label_replace(max by (namespace) ({metric}) == 1, "process", "{process}", "", "")'
                for process, metric in refused.items()
            ),
            held="1m",
            severity=TICKET,
            summary="The {{ $labels.process }} refuses the models file",
            description=(
                "The models file in {{ $labels.namespace }} has problems ({{ $value }}: refused); the "
                "{{ $labels.process }} goes on with the last good one, and the running models stay as they are."
            ),
        ),
        Alert(
            name="VgpuServeApplicationFailed",
            expr=f'sum by (namespace, state) (vgpu_serve_deployer_applications{{state=~"{FAILED_STATES}"}}) > 0',
            held="5m",
            severity=PAGE,
            summary="Models do not come up: {{ $labels.state }}",
            description="{{ $value }} applications of Ray Serve have been {{ $labels.state }} for 5 minutes.",
        ),
    ]


def capacity() -> list[Alert]:
    """Whether there is room, and whether the counts settle."""
    waiting = "sum by (namespace, model) (max_over_time(vgpu_serve_queued_rows[5m])) > 0"
    turned_away = f'{OF_MODEL} (vgpu_serve_signal{{signal="unanswered_per_s"}}) > 0'
    return [
        Alert(
            name="VgpuServeCapacityExhausted",
            expr=f"{OF_MODEL} (vgpu_serve_unplaced_replicas {OF_LEADER}) > 0\nand ({waiting} or {turned_away})",
            held="5m",
            severity=TICKET,
            summary="No slot for {{ $labels.model }} while its requests wait",
            description=(
                "{{ $value }} replicas of {{ $labels.model }} are asked for and find no slot, and its requests have "
                "waited or been turned away for 5 minutes."
            ),
        ),
        Alert(
            name="VgpuServeDesiredNotRunning",
            expr=(
                f'{OF_MODEL} (vgpu_serve_replicas{{state="desired"}} {OF_LEADER})\n'
                f'!= {OF_MODEL} (vgpu_serve_replicas{{state="running"}})'
            ),
            held="15m",
            severity=TICKET,
            summary="{{ $labels.model }} does not get the replicas it should have",
            description="{{ $value }} replicas of {{ $labels.model }} are wanted; another number has run for 15 "
            "minutes.",
        ),
        _flapping(),
    ]


def _flapping() -> Alert:
    changes = 'sum by (namespace, model) (increase(vgpu_serve_replica_changes_total{{direction="{}"}}[1h])) >= {}'
    return Alert(
        name="VgpuServeFlapping",
        expr=f"{changes.format('up', FLAPS_PER_H)}\nand {changes.format('down', FLAPS_PER_H)}",
        held="0m",
        severity=TICKET,
        summary="{{ $labels.model }} is scaled up and down in turns",
        description=(
            "{{ $value | humanize }} rises of {{ $labels.model }} in the last hour, and at least "
            f"{FLAPS_PER_H} falls: each costs a start, and nothing was gained."
        ),
    )
