"""Parts: the few kinds of panels of which the boards are made, and what all boards have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueGraphMode,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="$datasource")
FEATURES: Final = 'feature=~"$feature"'
"""What every query about features asks for: the ones that are chosen above the board."""
DOLLARS: Final = "currencyUSD"
SHARE: Final = "percentunit"
TAG: Final = "farthing"
LETTERS: Final = "ABCDEFGH"
"""The names of a panel's queries, so it has eight at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query; `legend` names its series."""

    expr: str
    legend: str = ""
    step: str = ""
    """The least time between two points, empty for what suits the width of the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a panel is called and explains of itself, the unit of its values (Grafana's names), and its place: `width`
    in 24ths of the board, `height` in rows of 30 pixels."""

    title: str
    text: str
    unit: str
    width: int = 12
    height: int = 8


def figure(about: About, query: Query, steps: Sequence[tuple[float | None, str]] = ((None, "text"),)) -> stat.Panel:
    """One number for the time that is shown, coloured by `steps` (least value, colour)."""
    return (
        stat.Panel()
        .title(about.title)
        .description(about.text)
        .datasource(SOURCE)
        .unit(about.unit)
        .span(about.width)
        .height(about.height)
        .graph_mode(BigValueGraphMode.NONE)
        .thresholds(_steps(steps))
        .no_value("0")
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_now(query).ref_id("A"))
    )


def lines(
    about: About,
    queries: Sequence[Query],
    *,
    stacked: StackingMode = StackingMode.NONE,
    bars: bool = False,
    marks: Sequence[tuple[float | None, str]] = (),
) -> timeseries.Panel:
    """Values over time; `marks` are drawn as dashed lines."""
    panel = (
        timeseries.Panel()
        .title(about.title)
        .description(about.text)
        .datasource(SOURCE)
        .unit(about.unit)
        .min(0)
        .span(about.width)
        .height(about.height)
        .draw_style(GraphDrawStyle.BARS if bars else GraphDrawStyle.LINE)
        .fill_opacity(60 if bars else 10)
        .stacking(common.StackingConfig().mode(stacked))
        .legend(_legend())
    )
    if marks:
        panel.thresholds(_steps(marks))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    for letter, query in zip(LETTERS, queries, strict=False):
        panel.with_target(_over_time(query).ref_id(letter))
    return panel


def gauges(about: About, query: Query, steps: Sequence[tuple[float | None, str]]) -> bargauge.Panel:
    """One bar for each series, from 0 to 1."""
    return (
        bargauge.Panel()
        .title(about.title)
        .description(about.text)
        .datasource(SOURCE)
        .unit(about.unit)
        .min(0)
        .max(1)
        .span(about.width)
        .height(about.height)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .thresholds(_steps(steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_now(query).ref_id("A"))
    )


def rows(about: About, columns: Sequence[tuple[str, str]], labels: Sequence[str]) -> table.Panel:
    """A table: a row for each set of `labels`, a column for each of `columns` (name, query)."""
    names = {f"Value #{letter}": name for letter, (name, _) in zip(LETTERS, columns, strict=False)}
    if len(columns) == 1:
        names = {"Value": columns[0][0]}
    order = {name: place for place, name in enumerate((*labels, *names))}
    panel = (
        table.Panel()
        .title(about.title)
        .description(about.text)
        .datasource(SOURCE)
        .unit(about.unit)
        .span(about.width)
        .height(about.height)
        .filterable(True)
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names},
            )
        )
    )
    for letter, (_, expr) in zip(LETTERS, columns, strict=False):
        panel.with_target(_now(Query(expr=expr)).format(PromQueryFormat.TABLE).ref_id(letter))
    return panel


def board(uid: str, title: str, text: str) -> dashboard.Dashboard:
    """An empty board with what all have: the data source, the features, links to the others."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags([TAG])
        .timezone("utc")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("1m")
        .time("now-7d", "now")
        .link(
            dashboard.DashboardLink("Farthing")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("feature")
            .label("Feature")
            .datasource(SOURCE)
            .query("label_values(farthing_feature_info, feature)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        )
    )


def _now(query: Query) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(query.expr).instant().datasource(SOURCE)
    return asked.legend_format(query.legend) if query.legend else asked


def _over_time(query: Query) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(query.expr).range().legend_format(query.legend).datasource(SOURCE)
    return asked.interval(query.step) if query.step else asked


def _steps(steps: Sequence[tuple[float | None, str]]) -> dashboard.ThresholdsConfig:
    found = [Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.RIGHT)
        .calcs(["lastNotNull"])
        .show_legend(True)
    )
