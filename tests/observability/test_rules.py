"""The rules as files: PromQL about what there is, thresholds that can be reached, a runbook for each alert."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm.generate import rules
from helm.generate.objectives import AVAILABILITY, BURNS, LATENCY, OBJECTIVES, WINDOW_S, Burn, Objective
from tests.observability import exported, promql
from tests.observability.exported import Labels

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "rules"
FILES = rules.files()
ALERTS = [alert for held in rules.groups().values() for alert in held]
RECORDS = rules.recording.rules()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """What processes export, and what rules record of it."""
    return promql.recorded(RECORDS, exported.everything(tmp_path_factory.mktemp("haproxy")))


def test_the_files_are_what_the_code_writes() -> None:
    checked_in = {str(path.relative_to(ROOT / "helm")): path.read_text() for path in RULES.iterdir()}
    assert checked_in == FILES, "run python -m helm.generate"


def test_promtool_takes_the_rules() -> None:
    command = ["promtool", "check", "rules", "--lint-fatal", *map(str, sorted(RULES.iterdir()))]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_recorded_names_say_level_metric_and_operation(known: Labels) -> None:
    for rule in RECORDS:
        level, metric, operation = rule["record"].split(":")
        assert (level, metric.startswith("vgpu_serve_")) == ("namespace_model", True)
        assert re.fullmatch(r"(rate|ratio_rate)(5m|30m|1h|6h|3d|30d)", operation)
        assert known[rule["record"]] == {"namespace", "model"}
    names = [rule["record"] for rule in RECORDS]
    assert len(names) == len(set(names))


def test_every_alert_asks_for_what_the_code_exports(known: Labels) -> None:
    for alert in ALERTS:
        labels = promql.result_labels(alert.expr, known) | {name for name, _ in alert.labels} | {"severity"}
        shown = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
        assert shown <= labels, f"{alert.name} shows {sorted(shown - labels)}"


def test_every_alert_says_how_bad_it_is_by_how_much_and_where_to_read_on() -> None:
    for alert in ALERTS:
        rule: Mapping[str, Any] = alert.rule()
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert "{{ $value" in rule["annotations"]["description"], f"{alert.name}: no number"
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{alert.name.lower()}"


def test_every_alert_has_a_section_of_the_runbook_and_every_section_an_alert() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections] == list(dict.fromkeys(alert.name for alert in ALERTS))
    for section in sections:
        name = section.splitlines()[0]
        assert all(f"**{part}.**" in section for part in ("Means", "Look", "Do")), name
        severities = {alert.severity for alert in ALERTS if alert.name == name}
        assert {word for word in ("page", "ticket") if word in section.splitlines()[2]} == severities, name
    anchors = {section.splitlines()[0].lower() for section in sections}
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= anchors


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
@pytest.mark.parametrize("burn", BURNS, ids=lambda burn: burn.long)
def test_every_threshold_can_be_reached(objective: Objective, burn: Burn) -> None:
    """A burn rate above 1 / budget would need more failures than requests: 20 is the most for a budget of 5 %."""
    assert burn.rate * objective.budget_ratio < 1


def test_the_budget_is_spent_as_the_workbook_has_it() -> None:
    assert [round(burn.budget_spent_ratio(), 3) for burn in BURNS] == [0.02, 0.05, 0.1]
    assert (LATENCY.budget_ratio, AVAILABILITY.budget_ratio) == (0.05, 0.005)


def test_both_windows_of_every_burn_rate_are_recorded() -> None:
    assert {window for burn in BURNS for window in (burn.long, burn.short)} == set(WINDOW_S)


def test_the_latency_objective_is_the_models_own_p95() -> None:
    """objective_p95_ms promises 95 of 100; another target would call for what nobody was promised."""
    assert LATENCY.target_ratio == 0.95


def test_the_files_hold_what_was_built() -> None:
    held = yaml.safe_load(FILES["rules/alerts.yaml"])["groups"]
    assert [rule for group in held for rule in group["rules"]] == [alert.rule() for alert in ALERTS]
