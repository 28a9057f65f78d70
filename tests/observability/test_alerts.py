"""Every alert fires when its cause is there, with its labels; on a healthy day none does. Judged by promtool."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from helm.generate import rules
from helm.generate.objectives import BURNS
from tests.observability import scenarios
from tests.observability.scenarios import GPU, NS, OF, POD, SWITCHER, Case, absent, answered, constant, counter

RULES = sorted(str(path) for path in (Path(__file__).parents[2] / "helm" / "rules").iterdir())
LEADER, OTHER = f'{NS}, instance="10.0.0.8:9106"', f'{NS}, instance="10.0.0.9:9106"'
NODE = f'{NS}, node="n1"'
HERE = {"namespace": "serving"}
MODEL = {**HERE, "model": "minilm"}
OF_GPU = {**HERE, "gpu": "gpu-a"}
ASLEEP = f'haproxy_backend_http_requests_total{{{NS}, instance="10.0.0.3:9101", proxy="asleep-minilm"}}'
NOBODY_LEADS = {f"vgpu_serve_leader{{{instance}}}": absent() for instance in (LEADER, OTHER)}
UNPLACED = {f'vgpu_serve_unplaced_replicas{{{LEADER}, model="minilm"}}': constant(2)}


def fires(name: str, severity: str, at: str, labels: Mapping[str, str], series: Mapping[str, str]) -> Case:
    """The alert, alone of its name."""
    said = {"alertname": name, "alertstate": "firing", "severity": severity, **labels}
    return Case(name=name, at=at, series=series, fires=said, looks_at=f'alertname="{name}", alertstate="firing"')


def burns(objective: str, rate: str, at: str, series: Mapping[str, str]) -> Case:
    """The alert of one burn rate; slower ones may fire with it."""
    burn = next(each for each in BURNS if f"{each.rate:g}" == rate)
    name = f"VgpuServe{objective}BudgetBurn"
    labels = {
        "alertname": name, "alertstate": "firing", "severity": burn.severity, **MODEL,
        "burn_rate": rate, "long_window": burn.long, "short_window": burn.short,
    }  # fmt: skip
    looks_at = f'alertname="{name}", alertstate="firing", burn_rate="{rate}"'
    return Case(name=f"{name} {rate}", at=at, series=series, fires=labels, looks_at=looks_at)


def silent(why: str, name: str, at: str, series: Mapping[str, str]) -> Case:
    """No alert whose name and labels match."""
    return Case(name=f"silent: {why}", at=at, series=series, looks_at=f'alertstate="firing", alertname{name}')


PROMISES = [
    burns("Latency", "14.4", "1h10m", answered(600, within_per_min=100)),
    burns("Latency", "6", "7h", answered(600, within_per_min=360)),
    burns("Latency", "1", "8h", answered(600, within_per_min=540)),
    burns("Availability", "14.4", "1h10m", answered(600, within_per_min=600, failed_per_min=60)),
    burns("Availability", "6", "7h", answered(600, within_per_min=600, failed_per_min=25)),
    burns("Availability", "1", "8h", answered(600, within_per_min=600, failed_per_min=6)),
    burns("Availability", "14.4", "1h10m", {ASLEEP: counter(100)}),
]
CAUSES = [
    fires("VgpuServeNoLeader", "page", "10m", HERE, {f"vgpu_serve_leader{{{LEADER}}}": constant(0)}),
    fires("VgpuServeNoLeader", "page", "10m", HERE, NOBODY_LEADS),
    fires("VgpuServeNoLeader", "page", "10m", HERE, NOBODY_LEADS | {
        'vgpu_serve_leader{namespace="elsewhere", instance="10.0.1.8:9106"}': constant(1),
    }),
    fires("VgpuServeNoLeader", "page", "10m", {}, NOBODY_LEADS | {
        f"vgpu_serve_deployer_file_refused{{{NS}}}": absent(),
    }),
    fires("VgpuServeTwoLeaders", "page", "10m", HERE, {f"vgpu_serve_leader{{{OTHER}}}": constant(1)}),
    fires(
        "VgpuServeLoopStalled", "page", "40m", {**HERE, "instance": "10.0.0.8:9106"},
        {f"vgpu_serve_last_tick_timestamp_seconds{{{LEADER}}}": "0+60x30 1800+0x300"},
    ),
    fires("VgpuServeTicksFailing", "ticket", "20m", HERE, {f"vgpu_serve_failed_ticks_total{{{LEADER}}}": counter(1)}),
    fires(
        "VgpuServeSignalStale", "ticket", "10m", {**HERE, "source": "replica"},
        {f'vgpu_serve_signal_age_seconds{{{LEADER}, source="replica"}}': constant(45)},
    ),
    fires(
        "VgpuServeReadingsMissing", "ticket", "15m", MODEL,
        {f'vgpu_serve_signals_missing{{{LEADER}, model="minilm"}}': constant(2)},
    ),
    fires(
        "VgpuServeActuationFailing", "ticket", "20m", HERE,
        {f"vgpu_serve_actuation_errors_total{{{LEADER}}}": counter(1)},
    ),
    fires(
        "VgpuServeModelsFileRefused", "ticket", "10m", {**HERE, "process": "autoscaler"},
        {f"vgpu_serve_models_file_refused{{{LEADER}}}": constant(1)},
    ),
    fires(
        "VgpuServeModelsFileRefused", "ticket", "10m", {**HERE, "process": "deployer"},
        {f"vgpu_serve_deployer_file_refused{{{NS}}}": constant(1)},
    ),
    fires(
        "VgpuServeApplicationFailed", "page", "10m", {**HERE, "state": "deploy_failed"},
        {f'vgpu_serve_deployer_applications{{{NS}, state="deploy_failed"}}': constant(1)},
    ),
    fires("VgpuServeCapacityExhausted", "ticket", "10m", MODEL, UNPLACED),
    fires(
        "VgpuServeCapacityExhausted", "ticket", "10m", MODEL,
        UNPLACED | {
            f"vgpu_serve_queued_rows{{{POD}}}": absent(),
            f'vgpu_serve_signal{{{LEADER}, model="minilm", signal="unanswered_per_s"}}': constant(3),
        },
    ),
    fires(
        "VgpuServeDesiredNotRunning", "ticket", "30m", MODEL,
        {f'vgpu_serve_replicas{{{LEADER}, model="minilm", state="desired"}}': constant(3)},
    ),
    fires(
        "VgpuServeFlapping", "ticket", "2h", MODEL,
        {
            f'vgpu_serve_replica_changes_total{{{LEADER}, model="minilm", direction="{direction}"}}': counter(1 / 6)
            for direction in ("up", "down")
        },
    ),
    fires("VgpuDeviceUnhealthy", "ticket", "10m", HERE | {"node": "n1"}, {
        f'vgpu_device_healthy{{{NODE}, slot="n1/0"}}': constant(0),
    }),
    fires("VgpuDeviceUnhealthy", "ticket", "10m", HERE | {"node": "n1"}, {
        f'vgpu_plugin_devices{{{NODE}, gpu="GPU-a", health="unhealthy"}}': constant(1),
    }),
    fires("VgpuExporterStale", "ticket", "10m", HERE | {"node": "n1"}, {
        f"vgpu_sample_age_seconds{{{NODE}}}": constant(40),
    }),
    fires("VgpuDevicePluginUnregistered", "ticket", "10m", HERE | {"node": "n1"}, {
        f"vgpu_plugin_registered{{{NODE}}}": constant(0),
    }),
    fires("VgpuDevicePluginLabelConflict", "ticket", "20m", HERE | {"node": "n1"}, {
        f"vgpu_plugin_label_conflict{{{NODE}}}": constant(1),
    }),
    fires("VgpuLedgerDrift", "ticket", "45m", HERE, {
        f"vgpu_ledger_drift_repaired_total{{{LEADER}}}": "0x30 1x300",
    }),
    fires("VgpuLedgerDrift", "ticket", "10m", HERE, {f"vgpu_ledger_drift_pods{{{LEADER}}}": constant(2)}),
    fires("VgpuExtenderNotOneLeader", "page", "10m", HERE, {f"vgpu_extender_ready{{{LEADER}}}": constant(0)}),
    fires("VgpuExtenderNotOneLeader", "page", "10m", HERE, {f"vgpu_extender_ready{{{OTHER}}}": constant(1)}),
    fires("VgpuExtenderNotOneLeader", "page", "40m", HERE, {
        f"vgpu_extender_ready{{{LEADER}}}": "1x20 _x300", f"vgpu_extender_ready{{{OTHER}}}": "0x20 _x300",
    }),
    fires("VgpuServeSwitchRefused", "ticket", "10m", OF_GPU, {f"vgpu_serve_switch_refused{{{GPU}}}": constant(1)}),
    fires("VgpuServeSwitchPrevented", "ticket", "20m", OF_GPU, {f"vgpu_serve_switch_problem{{{GPU}}}": constant(1)}),
    fires("VgpuServeSwitchRolledBack", "ticket", "45m", OF_GPU, {
        f'vgpu_serve_switches_total{{{GPU}, result="rolled_back"}}': "0x30 1x300",
    }),
    fires("VgpuServeSwitchStuck", "page", "10m", OF_GPU, {f"vgpu_serve_switch_stuck{{{GPU}}}": constant(1)}),
    fires("VgpuServeSwitchSlow", "ticket", "1h40m", OF_GPU, {
        f"vgpu_serve_switch_started_timestamp_seconds{{{GPU}}}": "0x30 1800x300",
    }),
    fires("VgpuServeSwitcherDown", "page", "10m", HERE, {f"vgpu_serve_switcher_leader{{{SWITCHER}}}": constant(0)}),
    fires("VgpuServeSwitcherDown", "page", "10m", HERE, {
        f'vgpu_serve_switcher_leader{{{NS}, instance="10.0.0.6:9108"}}': constant(1),
    }),
    fires("VgpuServeSwitcherDown", "page", "40m", HERE, {f"vgpu_serve_switcher_leader{{{SWITCHER}}}": "1x20 _x300"}),
    fires("VgpuServeSwitcherDown", "page", "40m", HERE, {
        f"vgpu_serve_switcher_last_pass_timestamp_seconds{{{SWITCHER}}}": "0+60x30 1800+0x300",
    }),
    fires("VgpuServeSwitcherConfigRefused", "ticket", "10m", HERE, {
        f"vgpu_serve_switcher_config_refused{{{SWITCHER}}}": constant(1),
    }),
]  # fmt: skip
QUIET = [
    silent("a healthy day", '=~".+"', "24h", {}),
    silent("a healthy first hour", '=~".+"', "1h", {}),
    silent("8 times too fast is not 14.4", '="VgpuServeLatencyBudgetBurn", burn_rate="14.4"', "7h",
           answered(600, within_per_min=360)),
    silent("2 times too fast is not 6", '="VgpuServeLatencyBudgetBurn", burn_rate="6"', "8h",
           answered(600, within_per_min=540)),
    silent("9 requests in 5 minutes", '="VgpuServeLatencyBudgetBurn", burn_rate="14.4"', "2h",
           answered(1.8, within_per_min=0)),
    silent("it is over", '="VgpuServeLatencyBudgetBurn", burn_rate="14.4"', "1h5m",
           {f"vgpu_serve_requests_within_objective_total{{{POD}}}": "0+10x50 500+600x300"}),
    silent("nobody asks", '=~"VgpuServe.*BudgetBurn"', "8h", answered(0, within_per_min=0)),
    silent("requests wake a model that may sleep", '="VgpuServeAvailabilityBudgetBurn"', "8h",
           {ASLEEP: counter(100),
            f'vgpu_serve_replicas_limit{{{LEADER}, model="minilm", bound="min"}}': constant(0)}),
    silent("no slot, and nobody waits", '="VgpuServeCapacityExhausted"', "20m",
           UNPLACED | {f"vgpu_serve_queued_rows{{{POD}}}": constant(0)}),
    silent("a start of ten minutes", '="VgpuServeDesiredNotRunning"', "1h",
           {f'vgpu_serve_replicas{{{LEADER}, model="minilm", state="desired"}}': "2x20 3x9 2x300"}),
    silent("another count by who does not lead", '=~"VgpuServe(DesiredNotRunning|CapacityExhausted)"', "1h",
           {f'vgpu_serve_replicas{{{OTHER}, model="minilm", state="desired"}}': constant(3),
            f'vgpu_serve_unplaced_replicas{{{OTHER}, model="minilm"}}': constant(1)}),
    silent("no extender here", '="VgpuExtenderNotOneLeader"', "10m",
           {f"vgpu_extender_ready{{{instance}}}": absent() for instance in (LEADER, OTHER)}),
    silent("no switcher here", '="VgpuServeSwitcherDown"', "10m", {
        f"vgpu_serve_switcher_leader{{{SWITCHER}}}": absent(),
        f"vgpu_serve_switcher_last_pass_timestamp_seconds{{{SWITCHER}}}": absent(),
    }),
    silent("a switcher that waits beside the one that leads", '="VgpuServeSwitcherDown"', "20m", {
        f'vgpu_serve_switcher_leader{{{NS}, instance="10.0.0.6:9108"}}': constant(0),
    }),
    silent("a switch of half an hour", '=~"VgpuServeSwitch.*"', "1h30m", {
        f"vgpu_serve_switch_started_timestamp_seconds{{{GPU}}}": "0x30 1800x30 0x300",
    }),
    silent("a pass that could not read", '="VgpuServeSwitchPrevented"', "25m", {
        f"vgpu_serve_switch_problem{{{GPU}}}": "0x10 1x8 0x300",
    }),
    silent("a switch that was done", '="VgpuServeSwitchRolledBack"', "45m", {
        f'vgpu_serve_switches_total{{{GPU}, result="done"}}': "0x30 1x300",
    }),
    silent("a switch that was undone yesterday", '="VgpuServeSwitchRolledBack"', "2h", {
        f'vgpu_serve_switches_total{{{GPU}, result="rolled_back"}}': "0x30 1x300",
    }),
    silent("a lease that changed hands", '=~"VgpuServe(NoLeader|TwoLeaders)"', "21m",
           {f"vgpu_serve_leader{{{LEADER}}}": "1x19 0x300", f"vgpu_serve_leader{{{OTHER}}}": "0x20 1x300"}),
]  # fmt: skip


def judged(case: Case, directory: Path) -> "subprocess.CompletedProcess[str]":
    path = directory / "case.yaml"
    path.write_text(yaml.safe_dump(scenarios.document(case, RULES)))
    return subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("case", [*PROMISES, *CAUSES, *QUIET], ids=lambda case: case.name)
def test_an_alert_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    said = judged(case, tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_has_a_case() -> None:
    alerts = [alert for held in rules.groups().values() for alert in held]
    tried = [case.fires for case in [*PROMISES, *CAUSES] if case.fires is not None]
    for alert in alerts:
        wanted = {"alertname": alert.name, "severity": alert.severity, **dict(alert.labels)}
        assert any(wanted.items() <= fired.items() for fired in tried), alert.name


def test_a_wrong_expectation_is_found(tmp_path: Path) -> None:
    wrong = silent("not so", '="VgpuServeCapacityExhausted"', "10m", UNPLACED)
    assert judged(wrong, tmp_path).returncode != 0


def test_what_a_person_is_told(tmp_path: Path) -> None:
    """Promtool compares every word: the numbers come out as numbers."""
    case = burns("Latency", "14.4", "1h10m", answered(600, within_per_min=100))
    document = scenarios.document(case, RULES)
    labels = {name: value for name, value in (case.fires or {}).items() if not name.startswith("alert")}
    told = {
        "summary": "minilm spends its latency budget 14.4 times too fast",
        "description": (
            "83.33% of its good answers came later than its objective_p95_ms in the last 1h, and above 72 % too in the "
            "last 5m; 5 % is allowed. At this rate 2 % of 30 days' budget goes every 1h. Silent below 50 requests in "
            "5m."
        ),
        "runbook_url": "docs/runbook.md#vgpuservelatencybudgetburn",
    }
    name = "VgpuServeLatencyBudgetBurn"
    # The slower burn rate fires too: promtool lists all of a name.
    document["tests"][0]["alert_rule_test"] = [
        {"eval_time": "5m", "alertname": name, "exp_alerts": [{"exp_labels": labels, "exp_annotations": told}]}
    ]
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(document))
    said = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stdout + said.stderr


def test_series_of_other_models_do_not_hide_one(tmp_path: Path) -> None:
    """Burn rates are by model: a large healthy one beside it changes nothing."""
    big = OF.replace("minilm", "filetype") + ', instance="10.0.0.7:9105"'
    series = answered(600, within_per_min=100) | {
        f'vgpu_serve_requests_total{{{big}, code="200"}}': counter(60000),
        f"vgpu_serve_requests_within_objective_total{{{big}}}": counter(60000),
    }
    said = judged(burns("Latency", "14.4", "1h10m", series), tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
