"""Profile switching: which layout each GPU is in, what a switch under way does, how long it takes, and what failed."""

from dataclasses import replace

from helm.generate.panel import (
    COUNT,
    GREEN,
    PER_SECOND,
    RED,
    SECONDS,
    YELLOW,
    Panel,
    Row,
    Shape,
    graph,
    highest,
    number,
    of_namespace,
    or_zero,
    query,
    rate,
    total,
)
from helm.generate.switches import PASS_OLD_S, SLOW_S

STEPS = "vgpu_serve_switch_step_duration_seconds"
WHOLE = "vgpu_serve_switch_duration_seconds"
SINCE = "1d"
"""A GPU is switched twice a day: over the rate interval there is no switch at all most of the time."""


def overview() -> Row:
    """Where each GPU is and how it got there."""
    panels = (_layouts(), _steps(), _seconds_by_step(), _next(), _results(), _refused(), _stuck())
    return Row(title="Profile switching", panels=panels)


def switcher() -> Row:
    """The switches in figures, and the process that makes them."""
    panels = (_seconds_by_result(), _lowest(), _provider_errors(), _under_way(), _prevented(), *_process())
    return Row(title="Profile switching: the switcher", panels=panels)


def _of_gpu(metric: str, *by: str) -> str:
    return highest(of_namespace(metric), "gpu", *by)


def _timeline(title: str, advice: str, expr: str, legend: str) -> Panel:
    return replace(graph(title, advice, COUNT, [query(expr, legend)]), shape=Shape.TIMELINE, width=12, least=None)


def _layouts() -> Panel:
    return _timeline(
        "Layout in force, by GPU",
        "A bar as long as the GPU is in that layout; during a switch it is still the one it comes from. None: nobody"
        " can tell which it is; `vgpu-serve switch` says why.",
        f"{_of_gpu('vgpu_serve_switch_layout', 'layout')} == 1",
        "{{gpu}} {{layout}}",
    )


def _steps() -> Panel:
    return _timeline(
        "Step under way, by GPU",
        "At rest there is none. make_room: the autoscaler moves replicas; drain: pods leave; ready: the new nodes come"
        " up. cordon again after start: it goes back.",
        f"{_of_gpu('vgpu_serve_switch_step', 'step')} == 1",
        "{{gpu}} {{step}}",
    )


def _mean(metric: str, by: str) -> str:
    def sum_of(ending: str) -> str:
        return total(f"increase({of_namespace(f'{metric}_{ending}')}[{SINCE}])", by)

    return f"{sum_of('sum')} / ({sum_of('count')} > 0)"


def _seconds_by_step() -> Panel:
    return graph(
        "Seconds by step, mean of a day",
        "make_room grows: little is free elsewhere. drain grows: pods take long to end. ready grows: machines or"
        " drivers start slowly. Near its timeout a step will fail: raise policy.timeouts_s.",
        SECONDS,
        [query(_mean(STEPS, "step"), "{{step}}")],
    )


def _next() -> Panel:
    due = f"min by (gpu, layout) ({of_namespace('vgpu_serve_switch_next_timestamp_seconds')})"
    return number(
        "Next switch in",
        "By the schedule, GPU and layout. No value: nothing is scheduled for the GPU.",
        SECONDS,
        query(f"{due} - time()", "{{gpu}} {{layout}}"),
    )


def _results() -> Panel:
    counted = f"increase({of_namespace('vgpu_serve_switches_total')}[{SINCE}])"
    return number(
        "Switches of a day, by result",
        "rolled_back: it failed half way and the GPU is where it was. refused: nothing was touched.",
        COUNT,
        query(total(counted, "result"), "{{result}}"),
    )


def _refused() -> Panel:
    return replace(
        number(
            "Refused",
            "1 while the last switch asked for was refused; its reason is in `vgpu-serve switch`.",
            COUNT,
            query(_of_gpu("vgpu_serve_switch_refused"), "{{gpu}}"),
        ),
        steps=((1, YELLOW),),
    )


def _stuck() -> Panel:
    return replace(
        number(
            "Stuck",
            "1: neither layout can be reached, and both are tried in turns. See docs/runbook.md.",
            COUNT,
            query(_of_gpu("vgpu_serve_switch_stuck"), "{{gpu}}"),
        ),
        steps=((1, RED),),
    )


def _seconds_by_result() -> Panel:
    return graph(
        "Seconds of a whole switch, mean of a day",
        "From the check to the end, by how it ended. Grows: see the seconds by step on the overview.",
        SECONDS,
        [query(_mean(WHOLE, "result"), "{{result}}")],
    )


def _lowest() -> Panel:
    return graph(
        "Units at the lowest point of the switch under way",
        "What all GPUs together still offer when least is there, in 1/1000 of a card. Far below the rest of the day:"
        " serving has little left; switch at a calmer time or fewer GPUs at once.",
        COUNT,
        [query(_of_gpu("vgpu_serve_switch_lowest_units"), "{{gpu}}")],
    )


def _provider_errors() -> Panel:
    counted = total(rate(of_namespace("vgpu_serve_switcher_provider_errors_total")), "provider", "operation")
    reported = total(of_namespace("vgpu_serve_switcher_leader"), "namespace")
    return graph(
        "Errors of providers",
        "A second, by provider and operation. The switcher's log has the answers; permissions, certificates and a"
        " hypervisor without room are the usual ones.",
        PER_SECOND,
        [query(or_zero(counted, reported), "{{provider}} {{operation}}")],
    )


def _under_way() -> Panel:
    since = f"({_of_gpu('vgpu_serve_switch_started_timestamp_seconds')} > 0)"
    return replace(
        number(
            "Switch under way since",
            "By GPU; no value at rest. Much longer than usual: which step does it wait in, and for what?",
            SECONDS,
            query(f"time() - {since}", "{{gpu}}"),
        ),
        steps=((SLOW_S, RED),),
    )


def _prevented() -> Panel:
    return replace(
        number(
            "Cannot be switched",
            "1: nobody can tell its layout, or its record cannot be used; `vgpu-serve switch` says why.",
            COUNT,
            query(_of_gpu("vgpu_serve_switch_problem"), "{{gpu}}"),
        ),
        steps=((1, YELLOW),),
    )


def _process() -> tuple[Panel, ...]:
    last = highest(of_namespace("vgpu_serve_switcher_last_pass_timestamp_seconds"), "namespace")
    leaders = number(
        "Switchers leading",
        "Must be 1 where switching is on; 0 in a dry run.",
        COUNT,
        query(total(of_namespace("vgpu_serve_switcher_leader"), "namespace"), "{{namespace}}"),
    )
    passes = number(
        "Since the switcher's last pass",
        "Above the interval: it stands still; its log says in which call.",
        SECONDS,
        query(f"time() - {last}", "{{namespace}}"),
    )
    file = number(
        "Switcher's file refused",
        "1: the last change is not in effect; the switcher's log lists every problem.",
        COUNT,
        query(highest(of_namespace("vgpu_serve_switcher_config_refused"), "namespace"), "{{namespace}}"),
    )
    return (
        replace(leaders, lowest_colour=RED, steps=((1, GREEN), (2, RED))),
        replace(passes, steps=((PASS_OLD_S, RED),)),
        replace(file, steps=((1, RED),)),
    )
