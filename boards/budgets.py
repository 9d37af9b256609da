"""The board of budgets: how full they are, how fast they burn, and what they refused."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models.common import StackingMode

from boards.parts import DOLLARS, FEATURES, SHARE, About, Query, board, figure, gauges, lines, rows

ACCOUNT: Final = ("budget", "feature", "window")
LEGEND: Final = "{{budget}} {{feature}} ({{window}})"
BURNS: Final = ((None, "green"), (1.2, "yellow"), (6.1, "orange"), (14.6, "red"))
"""The rates at which config/prometheus/rules/spend.yml raises its alerts."""
FULL: Final = ((None, "green"), (0.8, "orange"), (0.95, "red"))


def account(part: str) -> str:
    """A gauge of each budget's account; every gateway on one ledger says the same."""
    return f"max by ({', '.join(ACCOUNT)}) (farthing_budget_{part}_usd{{{FEATURES}}})"


LIMIT, SPENT, RESERVED = (account(part) for part in ("limit", "spent", "reserved"))


def budgets_board() -> Dashboard:
    """The whole board."""
    made = board("farthing-budgets", "Farthing: budgets", "How full budgets are, how fast they burn, what was refused.")
    _add_levels(made)
    _add_burns(made)
    _add_decisions(made)
    return made


def _add_levels(made: Dashboard) -> None:
    made.with_panel(
        gauges(
            About(
                title="Spent and set aside",
                text="Of the limit, in the present window. At 100 % calls are refused. Budgets for each run, key or "
                "tenant have no series: farthing budgets shows them.",
                unit=SHARE,
                width=10,
                height=10,
            ),
            Query(expr=f"({SPENT} + {RESERVED}) / ({LIMIT} > 0)", legend=LEGEND),
            FULL,
        )
    )
    made.with_panel(
        rows(
            About(title="Accounts", text="USD in the present window.", unit=DOLLARS, width=14, height=10),
            [
                ("limit", LIMIT),
                ("spent", SPENT),
                ("set aside", RESERVED),
                ("left", f"{LIMIT} - {SPENT} - {RESERVED}"),
            ],
            ACCOUNT,
        )
    )


def _add_burns(made: Dashboard) -> None:
    made.with_row(Row("Burn: 1 spends the budget exactly in its window"))
    for period, title in (("1h", "Over the last hour"), ("6h", "Over six hours"), ("3d", "Over three days")):
        made.with_panel(
            lines(
                About(
                    title=title,
                    text="From the recording rules of config/prometheus/rules/spend.yml; the dashed lines are where "
                    "they raise alerts.",
                    unit="none",
                    width=8,
                ),
                [Query(expr=f"budget:farthing_budget_burn:ratio{period}{{{FEATURES}}}", legend=LEGEND)],
                marks=BURNS,
            )
        )


def _add_decisions(made: Dashboard) -> None:
    made.with_row(Row("Decisions"))
    decided = f"sum by (decision) (increase(farthing_budget_decisions_total{{{FEATURES}}}[$__rate_interval]))"
    refused = (
        f'sum by (feature) (increase(farthing_budget_decisions_total{{{FEATURES}, decision="refused"}}[$__range]))'
    )
    made.with_panel(
        lines(
            About(
                title="Calls put to the budgets",
                text="refused: 402. unavailable: 503, the ledger could not be written. downgrade, cheapest: thresholds "
                "changed the route. notify: somebody was told, once.",
                unit="none",
            ),
            [Query(expr=decided, legend="{{decision}}")],
            stacked=StackingMode.NORMAL,
        )
    )
    made.with_panel(
        rows(
            About(title="Refused", text="Calls refused with 402 in the time shown.", unit="none", width=6),
            [("refused", refused)],
            ("feature",),
        )
    )
    made.with_panel(
        figure(
            About(title="Calls under way", text="With money set aside, of all workers.", unit="none", width=6),
            Query(expr="max(farthing_ledger_open_holds)"),
        )
    )
