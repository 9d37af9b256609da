"""The board of spending: what features cost, what caches and routing save, and which models answer."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models.common import StackingMode

from boards.parts import DOLLARS, FEATURES, SHARE, About, Query, board, figure, lines

LATELY: Final = "$__rate_interval"
SHOWN: Final = "$__range"
ASKED: Final = 'result=~"hit|partial|miss"'
"""Requests that looked in the caches; the others were told not to."""


def increase(metric: str, period: str, *matchers: str, by: str = "") -> str:
    """The sum of a counter's increases over a period, for the features that are chosen."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (increase({metric}{{{', '.join((FEATURES, *matchers))}}}[{period}]))"


def or_zero(expr: str) -> str:
    """The same, and 0 where there is no series yet."""
    return f"({expr} or vector(0))"


LOOKUPS: Final = "farthing_cache_lookups_total"
SPENT: Final = increase("farthing_cost_usd_total", SHOWN)
SAVED_BY_CACHES: Final = " - ".join(
    or_zero(increase(f"farthing_{part}_usd_total", SHOWN))
    for part in ("avoided_cost", "semantic_proof_cost", "semantic_embedding_cost")
)
SAVED_BY_PROMPTS: Final = " - ".join(
    or_zero(increase(f"farthing_prompt_cache_{part}_usd_total", SHOWN)) for part in ("saved", "premium")
)
SAVED_BY_ROUTING: Final = or_zero(increase("farthing_avoided_routing_cost_usd_total", SHOWN))
UNREGISTERED: Final = (
    or_zero(f'sum(increase(farthing_cost_usd_total{{feature="unregistered"}}[{SHOWN}]))')
    + f" / (sum(increase(farthing_cost_usd_total[{SHOWN}])) > 0)"
)
UNPRICED: Final = (
    or_zero(f"sum(increase(farthing_unpriced_requests_total[{SHOWN}]))")
    + f" / (sum(increase(farthing_requests_total[{SHOWN}])) > 0)"
)
FULLEST: Final = (
    f"max(max by (budget, feature, window) (farthing_budget_spent_usd{{{FEATURES}}})"
    f" / (max by (budget, feature, window) (farthing_budget_limit_usd{{{FEATURES}}}) > 0))"
)
OPEN_ALERTS: Final = 'count(ALERTS{alertname=~"Farthing.+", alertstate="firing"}) or vector(0)'


def spend_board() -> Dashboard:
    """The whole board."""
    made = board("farthing-spend", "Farthing: spend", "What features cost, what was saved, and which models answered.")
    _add_figures(made)
    _add_costs(made)
    _add_caches(made)
    _add_mix(made)
    return made


def _add_figures(made: Dashboard) -> None:
    for title, text, unit, expr, limit in (
        ("Spent", "USD in the time shown, every attempt included.", DOLLARS, SPENT, None),
        (
            "Saved by caches",
            "What answers from a cache had cost when they were made, less what it cost to embed questions and to learn "
            "how many answers are wrong. May be negative.",
            DOLLARS,
            SAVED_BY_CACHES,
            None,
        ),
        (
            "Saved by prompt caches",
            "What tokens read from providers' prompt caches cost less, less what writing them cost more.",
            DOLLARS,
            SAVED_BY_PROMPTS,
            None,
        ),
        (
            "Saved by routing",
            "What the reference tier would have cost more for the same tokens. What evals cost is not taken off: it is "
            "the cost of their feature.",
            DOLLARS,
            SAVED_BY_ROUTING,
            None,
        ),
        ("Unregistered", "Share of all cost that belongs to no registered feature.", SHARE, UNREGISTERED, 0.02),
        ("Unpriced", "Share of all requests that were refused for want of a price.", SHARE, UNPRICED, 0.000001),
        ("Fullest budget", "Spent of the limit, of the budget that is fullest now.", SHARE, FULLEST, 0.8),
        ("Open alerts", "Alerts of config/prometheus/rules that fire now.", "none", OPEN_ALERTS, 1),
    ):
        steps = ((None, "text"),) if limit is None else ((None, "green"), (limit, "red"))
        made.with_panel(figure(About(title=title, text=text, unit=unit, width=3, height=4), Query(expr=expr), steps))


def _add_costs(made: Dashboard) -> None:
    made.with_row(Row("Cost"))
    made.with_panel(
        lines(
            About(
                title="Cost per feature per day",
                text="Each bar is the day that ended at its mark, 00:00 UTC; today has none yet. For invoices the "
                "ledger is the truth: farthing report spend --by feature,day.",
                unit=DOLLARS,
                height=9,
            ),
            [Query(expr=increase("farthing_cost_usd_total", "1d", by="feature"), legend="{{feature}}", step="1d")],
            stacked=StackingMode.NORMAL,
            bars=True,
        )
    )
    buckets = f"sum by (le) (rate(farthing_request_cost_usd_bucket{{{FEATURES}}}[{LATELY}]))"
    made.with_panel(
        lines(
            About(
                title="Cost per inference",
                text="Of one request, attempts included, hits of the caches at 0. Read off 22 buckets, so within their "
                "width (1, 2.5, 5); farthing report inference is exact and leaves hits out.",
                unit=DOLLARS,
                height=9,
            ),
            [
                Query(expr=f"histogram_quantile(0.5, {buckets})", legend="median"),
                Query(expr=f"histogram_quantile(0.99, {buckets})", legend="p99"),
            ],
        )
    )


def _add_caches(made: Dashboard) -> None:
    made.with_row(Row("Caches"))
    hits = increase(LOOKUPS, LATELY, 'result="hit"', by="feature")
    by_cache = increase(LOOKUPS, LATELY, 'result="hit"', by="cache")
    partial = increase(LOOKUPS, LATELY, 'result="partial"')
    asked = increase(LOOKUPS, LATELY, ASKED)
    read = increase("farthing_tokens_total", LATELY, 'type="cache_read"', by="feature")
    taken = increase("farthing_tokens_total", LATELY, 'type=~"input_uncached|cache_read|cache_write"', by="feature")
    wrong = f'max by (feature) (farthing_semantic_wrong_ratio{{{FEATURES}, of="requests", bound="%s"}})'
    made.with_panel(
        lines(
            About(title="Hit rate by feature", text="Hits of all requests that looked in the caches.", unit=SHARE),
            [Query(expr=f"{hits} / {increase(LOOKUPS, LATELY, ASKED, by='feature')}", legend="{{feature}}")],
        )
    )
    made.with_panel(
        lines(
            About(
                title="Hit rate by cache",
                text="A hit counts under the cache that answered; partial: some inputs of an embedding were known.",
                unit=SHARE,
            ),
            [
                Query(expr=f"{by_cache} / on () group_left () {asked}", legend="{{cache}}"),
                Query(expr=f"{partial} / {asked}", legend="partial (embeddings)"),
            ],
        )
    )
    made.with_panel(
        lines(
            About(
                title="Prompt cache: share of input tokens read",
                text="Tokens that providers read from their prompt caches, of all text input.",
                unit=SHARE,
            ),
            [Query(expr=f"{read} / {taken}", legend="{{feature}}")],
        )
    )
    made.with_panel(
        lines(
            About(
                title="Semantic cache: wrong answers",
                text="Of all requests looked up: the estimate, its 95 % interval, and what max_wrong allows.",
                unit=SHARE,
            ),
            [
                Query(expr=wrong % "estimate", legend="{{feature}}"),
                Query(expr=wrong % "low", legend="{{feature}} at least"),
                Query(expr=wrong % "high", legend="{{feature}} at most"),
                Query(
                    expr=f"max by (feature) (farthing_semantic_max_wrong_ratio{{{FEATURES}}})",
                    legend="{{feature}} max_wrong",
                ),
            ],
        )
    )


def _add_mix(made: Dashboard) -> None:
    made.with_row(Row("Model mix"))
    for title, metric in (("requests", "farthing_requests_total"), ("cost", "farthing_cost_usd_total")):
        made.with_panel(
            lines(
                About(title=f"Share of {title} by tier", text="__none__: no model was asked.", unit=SHARE),
                [
                    Query(
                        expr=f"{increase(metric, LATELY, by='tier')} / on () group_left () {increase(metric, LATELY)}",
                        legend="{{tier}}",
                    )
                ],
                stacked=StackingMode.NORMAL,
            )
        )
