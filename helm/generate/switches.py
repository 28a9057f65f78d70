"""The causes around profile switching: switches that were refused, undone or stuck, and the switcher itself."""

from helm.generate.alerts import PAGE, TICKET, Alert

OF_GPU = "max by (namespace, gpu)"
SLOW_S = 3600
"""The timeouts of all steps are 42 minutes together by default; a way back takes as long again at most."""
PASS_OLD_S = 60
"""Thirty of the default 2 s intervals."""


def not_begun() -> list[Alert]:
    """Whether what is asked for is taken up."""
    return [
        Alert(
            name="VgpuServeSwitchRefused",
            expr=f"{OF_GPU} (vgpu_serve_switch_refused) == 1",
            held="0m",
            severity=TICKET,
            summary="The switch of {{ $labels.gpu }} was refused",
            description="{{ $labels.gpu }} stays in its layout ({{ $value }}: refused); nothing was touched. The "
            "record of the switch says why.",
        ),
        Alert(
            name="VgpuServeSwitchPrevented",
            expr=f"{OF_GPU} (vgpu_serve_switch_problem) == 1",
            # A call of the API that failed once is a problem of one pass.
            held="10m",
            severity=TICKET,
            summary="{{ $labels.gpu }} cannot be switched",
            description="For 10 minutes something has kept {{ $labels.gpu }} from being switched ({{ $value }}: "
            "prevented); what is scheduled for it is passed over. `vgpu-serve switch` says what it is.",
        ),
    ]


def under_way() -> list[Alert]:
    """Whether what was taken up gets where it should."""
    return [
        Alert(
            name="VgpuServeSwitchRolledBack",
            expr='sum by (namespace, gpu) (increase(vgpu_serve_switches_total{result="rolled_back"}[1h])) > 0',
            held="0m",
            severity=TICKET,
            summary="A switch of {{ $labels.gpu }} failed and was undone",
            description="{{ $value | humanize }} switches of {{ $labels.gpu }} were rolled back in the last hour; it "
            "is in the layout it came from. The record of the switch says which step failed and why.",
        ),
        Alert(
            name="VgpuServeSwitchStuck",
            expr=f"{OF_GPU} (vgpu_serve_switch_stuck) == 1",
            held="0m",
            severity=PAGE,
            summary="{{ $labels.gpu }} reaches neither of its layouts",
            description="The switch of {{ $labels.gpu }} has failed forward and back ({{ $value }}: stuck) and goes on "
            "trying both; until one of them works its slots serve nobody.",
        ),
        Alert(
            name="VgpuServeSwitchSlow",
            expr=f"time() - ({OF_GPU} (vgpu_serve_switch_started_timestamp_seconds) > 0) > {SLOW_S}",
            held="1m",
            severity=TICKET,
            summary="The switch of {{ $labels.gpu }} does not come to an end",
            description="The switch of {{ $labels.gpu }} began {{ $value | humanizeDuration }} ago.",
        ),
    ]


def switcher() -> list[Alert]:
    """Whether there is one that switches, by the file it was given."""
    leads = "vgpu_serve_switcher_leader"
    last = "max by (namespace) (vgpu_serve_switcher_last_pass_timestamp_seconds)"
    return [
        Alert(
            name="VgpuServeSwitcherDown",
            # One that is gone has no series to say so: then what it said within the last hour does.
            expr=(
                f"sum by (namespace) ({leads}) != 1\n"
                f"or 0 * (time() - {last} > {PASS_OLD_S})\n"
                f"or 0 * (max by (namespace) (max_over_time({leads}[1h])) unless on (namespace) {leads})"
            ),
            held="2m",
            severity=PAGE,
            summary="{{ $value }} switchers work",
            description="Exactly one must; {{ $value }} do. With none a switch under way stands still, and scheduled "
            "ones are missed: GPUs stay cut as they are.",
        ),
        Alert(
            name="VgpuServeSwitcherConfigRefused",
            expr="max by (namespace) (vgpu_serve_switcher_config_refused) == 1",
            held="1m",
            severity=TICKET,
            summary="The switcher refuses its file",
            description="The switcher's file in {{ $labels.namespace }} has problems ({{ $value }}: refused); it goes "
            "on by the last good one, with the layouts and the schedule of then.",
        ),
    ]
