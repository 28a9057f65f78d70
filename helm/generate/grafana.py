"""Panels -> a Grafana dashboard, by the typed builders of grafana-foundation-sdk."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from helm.generate.panel import FULL_WIDTH, RED, Panel, Row, Shape

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "vgpu-serve"
VARIABLES = {
    "namespace": "label_values(vgpu_serve_last_tick_timestamp_seconds, namespace)",
    "model": 'label_values(vgpu_serve_objective_seconds{namespace=~"$namespace"}, model)',
    "node": 'label_values(vgpu_serve_slots{namespace=~"$namespace"}, node)',
}
Drawn = timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel | statetimeline.Panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard; `uid` is its address and never changes."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    since: str = "now-1h"
    marks: tuple["Mark", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An annotation: where `expr` has series, a mark on every panel of latencies."""

    name: str
    expr: str
    title: str
    colour: str
    labels: tuple[str, ...]
    is_on: bool = True


class _MarkQuery(dashboard.AnnotationQuery):
    """An annotation with Prometheus' own keys, which the generated model leaves out."""

    def __init__(self, mark: Mark, panel_ids: list[int]) -> None:
        only = dashboard.AnnotationPanelFilter(exclude=False, ids=panel_ids)
        super().__init__(name=mark.name, datasource=DATASOURCE, enable=mark.is_on, filter_val=only, expr=mark.expr)
        self.icon_color = mark.colour
        self.mark = mark

    def to_json(self) -> dict[str, object]:
        """As the model, and how a mark is labelled."""
        own = {"titleFormat": self.mark.title, "tagKeys": ",".join(self.mark.labels), "step": "15s"}
        return {**super().to_json(), **own}


@dataclass(frozen=True, slots=True)
class _Marked(Builder[dashboard.AnnotationQuery]):
    """What the dashboard's builder asks for."""

    asked: _MarkQuery

    def build(self) -> dashboard.AnnotationQuery:
        return self.asked


def render(board: Board) -> str:
    """The dashboard's JSON, keys sorted, one newline at its end."""
    built = (
        boards.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time(board.since, "now")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(_other_boards())
        .with_variable(_datasource_variable())
    )
    for name, asked in VARIABLES.items():
        built = built.with_variable(_variable(name, asked))
    panel_ids = []
    for number, panel, builder in _laid_out(board.rows):
        if isinstance(builder, boards.Row):
            built = built.with_row(builder)
        else:
            built = built.with_panel(builder)
            panel_ids += [number] if panel is not None and panel.is_latency else []
    for mark in board.marks:
        built = built.annotation(_Marked(_MarkQuery(mark, panel_ids)))
    return json.dumps(json.loads(JSONEncoder().encode(built.build())), indent=1, sort_keys=True) + "\n"


def _laid_out(rows: Sequence[Row]) -> Iterator[tuple[int, Panel | None, Drawn | boards.Row]]:
    """Every panel with its number and place; the place is ours, so that a new panel moves only what comes after it."""
    number, top = 0, 0
    for row in rows:
        number += 1
        place = dashboard.GridPos(x=0, y=top, w=FULL_WIDTH, h=1)
        yield number, None, boards.Row(row.title).id(number).grid_pos(place)
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > FULL_WIDTH:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            place = dashboard.GridPos(x=left, y=top, w=panel.width, h=panel.height)
            yield number, panel, _drawn(panel).id(number).grid_pos(place)
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _drawn(panel: Panel) -> Drawn:
    drawn = _shaped(panel)
    drawn = drawn.title(panel.title).description(panel.advice).datasource(DATASOURCE).unit(panel.unit)
    if panel.least is not None:
        drawn = drawn.min(panel.least)
    if panel.most is not None:
        drawn = drawn.max(panel.most)
    if panel.steps:
        steps = [dashboard.Threshold(value=None, color=panel.lowest_colour)]
        steps += [dashboard.Threshold(value=value, color=colour) for value, colour in panel.steps]
        drawn = drawn.thresholds(boards.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
    for number, asked in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(asked.expr).legend_format(asked.legend).ref_id(chr(ord("A") + number))
        target = target.datasource(DATASOURCE)
        if panel.shape is Shape.HEATMAP:
            target = target.format(PromQueryFormat.HEATMAP)
        if panel.shape is Shape.TABLE:
            target = target.format(PromQueryFormat.TABLE).instant()
        drawn = drawn.with_target(target)
    return drawn


def _shaped(panel: Panel) -> Drawn:
    match panel.shape:
        case Shape.GRAPH:
            return _graph(panel)
        case Shape.NUMBER:
            return _number()
        case Shape.HEATMAP:
            return _heatmap(panel)
        case Shape.TABLE:
            return table.Panel().show_header(True)
        case Shape.TIMELINE:
            return _timeline()


def _graph(panel: Panel) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(common.LegendDisplayMode.TABLE).placement(common.LegendPlacement.BOTTOM)
    drawn = (
        timeseries.Panel()
        .legend(legend.show_legend(True).calcs(["lastNotNull", "max"]))
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .line_width(1)
        .fill_opacity(30 if panel.is_stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
    )
    if panel.is_stacked:
        drawn = drawn.stacking(StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if panel.steps:
        drawn = drawn.thresholds_style(GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED))
    for legend_text in panel.dashed:
        drawn = drawn.override_by_regexp(
            legend_text,
            [
                dashboard.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [10, 10]}),
                dashboard.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": RED}),
                dashboard.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
                dashboard.DynamicConfigValue(id_val="custom.stacking", value={"mode": "none"}),
            ],
        )
    return drawn


def _number() -> stat.Panel:
    return (
        stat.Panel()
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )


def _timeline() -> statetimeline.Panel:
    """A bar for as long as a series has a value; the value itself says nothing more."""
    return (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
        .legend(VizLegendOptions().show_legend(False))
    )


def _heatmap(panel: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(heatmap.YAxisConfig().unit(panel.unit))
        .show_legend()
    )


def _datasource_variable() -> boards.DatasourceVariable:
    return boards.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _variable(name: str, asked: str) -> boards.QueryVariable:
    everything = dashboard.VariableOption(selected=True, text="All", value="$__all")
    return (
        boards.QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATASOURCE)
        .query(asked)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def _other_boards() -> boards.DashboardLink:
    """All dashboards of this tag, with the same variables and time."""
    return (
        boards.DashboardLink("vgpu-serve")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )
