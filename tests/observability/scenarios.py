"""Synthetic series for promtool: a healthy day, and for each alert the one thing that is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NS = 'namespace="serving"'
OF = f'{NS}, model="minilm"'
SWITCHER = f'{NS}, instance="10.0.0.5:9108"'
GPU = f'{SWITCHER}, gpu="gpu-a"'
POD = f'{OF}, instance="10.0.0.1:9105", pod="w1"'
LASTS_MIN = 1500
LONG = ("7h", "8h", "24h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Series that differ from a healthy day, and what must fire `at` a time, or must not."""

    name: str
    at: str
    series: Mapping[str, str]
    fires: Mapping[str, str] | None = None
    """The labels of the one alert that is looked at; None when nothing of `looks_at` may fire."""
    looks_at: str
    """Which alerts are looked at, as label matchers."""


def answered(ok_per_min: float, *, within_per_min: float, failed_per_min: float = 0) -> dict[str, str]:
    """A worker's counters for as long as any scenario lasts; the load never stops."""
    return {
        f'vgpu_serve_requests_total{{{POD}, code="200"}}': counter(ok_per_min),
        f'vgpu_serve_requests_total{{{POD}, code="503"}}': counter(failed_per_min),
        f"vgpu_serve_requests_within_objective_total{{{POD}}}": counter(within_per_min),
    }


def counter(per_min: float, minutes: int = LASTS_MIN) -> str:
    """In promtool's notation, one value a minute."""
    return f"0+{per_min:g}x{minutes}"


def constant(value: float, minutes: int = LASTS_MIN) -> str:
    """In promtool's notation."""
    return f"{value:g}+0x{minutes}"


def absent(minutes: int = LASTS_MIN) -> str:
    """No series at all."""
    return f"_x{minutes}"


def healthy() -> dict[str, str]:
    """A model that keeps both promises, one leader, a card in good health, an extender that decides, a GPU at rest."""
    leader, other = f'{NS}, instance="10.0.0.8:9106"', f'{NS}, instance="10.0.0.9:9106"'
    node = f'{NS}, node="n1"'
    gauges: dict[str, float] = {
        f"vgpu_serve_leader{{{leader}}}": 1,
        f"vgpu_serve_leader{{{other}}}": 0,
        f'vgpu_serve_signal_age_seconds{{{leader}, source="replica"}}': 3,
        f'vgpu_serve_signals_missing{{{leader}, model="minilm"}}': 0,
        f"vgpu_serve_models_file_refused{{{leader}}}": 0,
        f"vgpu_serve_deployer_file_refused{{{NS}}}": 0,
        f'vgpu_serve_deployer_applications{{{NS}, state="running"}}': 2,
        f'vgpu_serve_deployer_applications{{{NS}, state="deploy_failed"}}': 0,
        f'vgpu_serve_unplaced_replicas{{{leader}, model="minilm"}}': 0,
        f"vgpu_serve_queued_rows{{{POD}}}": 3,
        f'vgpu_serve_signal{{{leader}, model="minilm", signal="unanswered_per_s"}}': 0,
        f'vgpu_serve_replicas{{{leader}, model="minilm", state="desired"}}': 2,
        f'vgpu_serve_replicas{{{leader}, model="minilm", state="running"}}': 2,
        f'vgpu_serve_replicas_limit{{{leader}, model="minilm", bound="min"}}': 1,
        f'vgpu_device_healthy{{{node}, slot="n1/0"}}': 1,
        f"vgpu_sample_age_seconds{{{node}}}": 1,
        f"vgpu_plugin_registered{{{node}}}": 1,
        f"vgpu_plugin_label_conflict{{{node}}}": 0,
        f'vgpu_plugin_devices{{{node}, gpu="GPU-a", health="healthy"}}': 1,
        f'vgpu_plugin_devices{{{node}, gpu="GPU-a", health="unhealthy"}}': 0,
        f"vgpu_extender_ready{{{leader}}}": 1,
        f"vgpu_extender_ready{{{other}}}": 0,
        f"vgpu_ledger_drift_pods{{{leader}}}": 0,
        f"vgpu_serve_switcher_leader{{{SWITCHER}}}": 1,
        f"vgpu_serve_switcher_config_refused{{{SWITCHER}}}": 0,
        f"vgpu_serve_switch_refused{{{GPU}}}": 0,
        f"vgpu_serve_switch_problem{{{GPU}}}": 0,
        f"vgpu_serve_switch_stuck{{{GPU}}}": 0,
        f"vgpu_serve_switch_started_timestamp_seconds{{{GPU}}}": 0,
    }
    counters: dict[str, float] = {
        f"vgpu_serve_failed_ticks_total{{{leader}}}": 0,
        f"vgpu_serve_actuation_errors_total{{{leader}}}": 0,
        # A rise and a fall every four hours.
        f'vgpu_serve_replica_changes_total{{{leader}, model="minilm", direction="up"}}': 1 / 240,
        f'vgpu_serve_replica_changes_total{{{leader}, model="minilm", direction="down"}}': 1 / 240,
        f"vgpu_serve_last_tick_timestamp_seconds{{{leader}}}": 60,
        f"vgpu_ledger_drift_repaired_total{{{leader}}}": 0,
        f"vgpu_serve_switcher_last_pass_timestamp_seconds{{{SWITCHER}}}": 60,
        # To the night's layout and back, once a day.
        f'vgpu_serve_switches_total{{{GPU}, result="done"}}': 2 / 1440,
        f'vgpu_serve_switches_total{{{GPU}, result="rolled_back"}}': 0,
        # A client's own mistakes are nobody's failure.
        f'vgpu_serve_requests_total{{{POD}, code="400"}}': 30,
    }
    return {
        **{series: constant(value) for series, value in gauges.items()},
        **{series: counter(per_min) for series, per_min in counters.items()},
        # 1 in 1000 fails and 2 in 100 are late: both promises are kept.
        **answered(600, within_per_min=588, failed_per_min=0.6),
    }


def document(case: Case, rules: list[str]) -> dict[str, Any]:
    """A file for `promtool test rules`."""
    entries = [{"series": name, "values": values} for name, values in (healthy() | dict(case.series)).items()]
    check = {"expr": f"ALERTS{{{case.looks_at}}}", "eval_time": case.at, "exp_samples": _samples(case)}
    return {
        "rule_files": rules,
        # A day at 1 m takes promtool 15 s.
        "evaluation_interval": "5m" if case.at in LONG else "1m",
        "tests": [{"interval": "1m", "input_series": entries, "promql_expr_test": [check]}],
    }


def _samples(case: Case) -> list[dict[str, Any]]:
    if case.fires is None:
        return []
    said = ", ".join(f'{name}="{value}"' for name, value in sorted(case.fires.items()))
    return [{"labels": f"ALERTS{{{said}}}", "value": 1}]
