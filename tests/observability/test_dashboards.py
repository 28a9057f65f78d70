"""The dashboards as files: whole, legible, and asking only for what there is."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helm.generate import dashboards, rules
from helm.generate.grafana import VARIABLES
from tests.observability import exported, promql
from tests.observability.exported import Labels

HELM = Path(__file__).parents[2] / "helm"
FILES = dashboards.files()
Json = Any


def boards() -> list[Any]:
    return [pytest.param(json.loads(text), id=Path(path).stem) for path, text in FILES.items()]


def panels(board: Json) -> list[Json]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets(board: Json) -> Iterator[tuple[str, str, str]]:
    """Title, expression and legend of each query; annotations too."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]
    for mark in board.get("annotations", {}).get("list", ()):
        yield mark["name"], mark["expr"], mark["titleFormat"]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """Everything that can be asked for: what processes export, and what rules record of it."""
    from_processes = exported.everything(tmp_path_factory.mktemp("haproxy"))
    return promql.recorded(rules.recording.rules(), from_processes)


def test_the_files_are_what_the_code_writes() -> None:
    checked_in = {str(path.relative_to(HELM)): path.read_text() for path in (HELM / "dashboards").iterdir()}
    assert checked_in == FILES, "run python -m helm.generate"


def test_each_dashboard_has_an_address_of_its_own() -> None:
    uids = [json.loads(text)["uid"] for text in FILES.values()]
    assert sorted(uids) == [f"vgpu-serve-{name}" for name in ("burn", "decisions", "model", "overview", "slots")]


@pytest.mark.parametrize("board", boards())
def test_panels_have_numbers_and_places_of_their_own(board: Json) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, f"{one} and {other} overlap"


@pytest.mark.parametrize("board", boards())
def test_each_panel_has_a_unit_and_says_what_to_do(board: Json) -> None:
    for panel in panels(board):
        assert panel["fieldConfig"]["defaults"]["unit"] in {"s", "percentunit", "short", "reqps", "bytes"}
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["targets"], panel["title"]
    titles = [panel["title"] for panel in panels(board)]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("board", boards())
def test_no_data_source_is_wired_in(board: Json) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asked = [panel["datasource"] for panel in panels(board)]
    asked += [target["datasource"] for panel in panels(board) for target in panel["targets"]]
    asked += [mark["datasource"] for mark in board.get("annotations", {}).get("list", ())]
    asked += [entry["datasource"] for entry in board["templating"]["list"] if entry["type"] == "query"]
    assert all(each == chosen for each in asked)
    variables = {entry["name"]: entry["type"] for entry in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "namespace": "query", "model": "query", "node": "query"}


@pytest.mark.parametrize("board", boards())
def test_each_dashboard_leads_to_the_others(board: Json) -> None:
    assert board["tags"] == ["vgpu-serve"]
    assert [(link["type"], link["tags"], link["includeVars"], link["keepTime"]) for link in board["links"]] == [
        ("dashboards", ["vgpu-serve"], True, True)
    ]


@pytest.mark.parametrize("board", boards())
def test_every_query_asks_for_what_the_code_exports(board: Json, known: Labels) -> None:
    for title, expr, legend in targets(board):
        labels = promql.result_labels(promql.substituted(expr), known)
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
        assert shown <= labels, f"{title}: the legend shows {sorted(shown - labels)}, which {expr} does not have"


@pytest.mark.parametrize("board", boards())
def test_every_query_is_about_the_chosen_namespace(board: Json) -> None:
    for title, expr, _ in targets(board):
        assert expr.count('namespace=~"$namespace"') == len(promql.selectors(promql.substituted(expr))), title


def test_the_variables_ask_for_what_the_code_exports(known: Labels) -> None:
    for asked in VARIABLES.values():
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", asked)
        assert found is not None
        assert found[2] in promql.result_labels(promql.substituted(found[1]), known)


def test_decisions_are_marked_on_latencies() -> None:
    for name in ("overview", "model", "decisions"):
        board = json.loads(FILES[f"dashboards/{name}.json"])
        latencies = [
            panel["id"]
            for panel in panels(board)
            if any(re.search("request_duration|latency_|p95_ms", target["expr"]) for target in panel["targets"])
            and panel["type"] != "stat"
            and "budget" not in panel["title"]
        ]
        marks = board["annotations"]["list"]
        assert [mark["enable"] for mark in marks] == [True, False]
        for mark in marks:
            assert mark["filter"]["exclude"] is False
            assert set(latencies) <= set(mark["filter"]["ids"]), name


def test_a_query_for_what_nobody_exports_is_found(known: Labels) -> None:
    for expr in (
        "vgpu_serve_nonsense",
        'vgpu_serve_ready{colour="red"}',
        "sum by (colour) (vgpu_serve_ready)",
        "histogram_quantile(0.5, sum by (model) (rate(vgpu_serve_request_duration_seconds_bucket[5m])))",
    ):
        with pytest.raises(promql.Wrong):
            promql.result_labels(expr, known)


def test_everything_that_the_code_exports_is_looked_at(known: Labels) -> None:
    """By a panel or by a rule: a metric that nobody looks at is not worth its series."""
    panels_ = [promql.substituted(expr) for text in FILES.values() for _, expr, _ in targets(json.loads(text))]
    alerts = [alert.expr for held in rules.groups().values() for alert in held]
    recorded = [rule["expr"] for rule in rules.recording.rules()]
    looked_at = {each.name for expr in (*panels_, *alerts, *recorded) for each in promql.selectors(expr)}
    ours = {name for name in known if name.startswith("vgpu_")}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in ours}
    left = families - {re.sub("_(bucket|sum|count)$", "", name) for name in looked_at}
    assert left == {"vgpu_sample_timestamp_seconds"}  # its age has a metric of its own
