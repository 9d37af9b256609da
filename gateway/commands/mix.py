"""Mix: the review of what the traffic would cost on each tier, printed."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from farthing.money import format_usd
from farthing.tags import SHADOW
from gateway.commands.report import Format, as_csv
from gateway.commands.surroundings import (
    CLOCK,
    ConfigOption,
    DataOption,
    find_ledger,
    ledger_of,
    load_settings,
    print_table,
)
from gateway.files import Files
from gateway.logs import printable
from gateway.periods import parse_moment

if TYPE_CHECKING:
    from gateway.mix import FindingOut, KnownSuite, Line, Mix, Proposal
    from gateway.settings import Settings
    from ledger.database import Database

MOST_GROUPS: Final = 100_000
NOT_KNOWN: Final = "not known"
UNKNOWNS: Final = (
    "whether a tier passes: it saves nothing if it fails, and how likely that is nobody has measured",
    "how many tokens another model would take: the same are assumed, and models differ in tokenizer and in length",
    "how long a suite's items are: as long as the mean request of the task is assumed; a judge's calls are not in",
    "a price that depends on the size of the context goes by the mean request of each feature, task and tier",
)
"""What the figures do not tell."""


def report_mix(
    since: Annotated[str, typer.Option(help="30d, 12h, 4w (ago), a date, or an ISO 8601 time.")] = "30d",
    until: Annotated[str, typer.Option(help="The same; now if not given.", show_default=False)] = "",
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """What the traffic would cost on each tier, and which evals could save money."""
    settings, now_ns = load_settings(config), CLOCK.wall_ns()
    database = ledger_of(settings) if data_dir is None else find_ledger(config, data_dir)
    since_ns = parse_moment(since, now_ns)
    until_ns = parse_moment(until, now_ns) if until else now_ns
    files = Files.below(data_dir or settings.data_dir)
    found = reviewed(settings, database, files, since_ns=since_ns, until_ns=until_ns)
    _write(found, format_, [tier.name for tier in settings.catalog.tiers])


def reviewed(settings: "Settings", database: "Database", files: Files, *, since_ns: int, until_ns: int) -> "Mix":
    """The review of the calls of a time. Raises FarthingError where there is no ledger."""
    from gateway.mix import BY, MAX_AGE_S, Evidence, review
    from gateway.present import evidence_of, present
    from gateway.spendquery import check_ledger
    from ledger import reports

    check_ledger(database)
    now_ns = CLOCK.wall_ns()
    generation = present(settings, evidence_of(files, settings.evals), now_ns, files)
    rows = reports.spend(database, by=BY, since_ns=since_ns, until_ns=until_ns, limit=MOST_GROUPS)
    return review(
        rows,
        settings.catalog,
        lambda place: generation.pricing.price(place, now_ns),
        Evidence(
            question=generation.destinations.question,
            suites=_suites(settings),
            valid_for_s=settings.evals.valid_for_s or MAX_AGE_S,
        ),
        span_ns=until_ns - since_ns,
        finding=finding_out(settings.evals.feature),
    )


def finding_out(evals: str) -> "FindingOut":
    """What is booked to the feature of evals, and what the gateway asks on its own account for no cache."""
    from gateway.asides import OF_CACHES

    def name(feature: str, task: str) -> str:
        purpose, named, _ = task.partition(":")
        if feature == SHADOW and named and purpose not in OF_CACHES:
            return purpose
        return feature if feature == evals else ""

    return name


def _suites(settings: "Settings") -> "dict[tuple[str, str], KnownSuite]":
    """By task and tier the suite that would be run: the configured directory's before those that ship with Farthing.
    What cannot be read is told on standard error, and passed over."""
    from evals.loader import SUITES
    from evals.shelf import Shelf
    from gateway.mix import KnownSuite

    found: dict[tuple[str, str], KnownSuite] = {}
    for folder in (settings.evals.suites, SUITES):
        looked = Shelf(folder, allow_code=True).look()  # nothing is run here
        for problem in looked.problems:
            typer.echo(printable(problem), err=True)
        for suite in looked.suites.values():
            known = KnownSuite(name=suite.name, rule=suite.rule, valid_for_s=suite.limits.max_age_s)
            for tier in suite.candidates:
                found.setdefault((suite.task, tier), known)
    return found


def _write(found: "Mix", format_: Format, tiers: list[str]) -> None:
    if format_ is Format.JSON:
        typer.echo(json.dumps(members(found), indent=2))
        return
    heads, lines = _table(found, tiers)
    if format_ is Format.CSV:
        typer.echo(as_csv(heads, lines), nl=False)
        return
    print_table(heads, lines, right=heads[2:])
    _tell_proposals(found.proposals)
    for line in _closing(found):
        typer.echo(printable(line))


def _table(found: "Mix", tiers: list[str]) -> tuple[list[str], list[list[str]]]:
    """A line for each feature and task, and one for all."""
    figures = ["requests", "answered", "tokens in", "tokens out", "actual USD", "today USD"]
    heads = ["feature", "task", *figures, *(f"all on {tier}" for tier in tiers)]
    lines = [_cells(line, tiers) for line in found.lines]
    return heads, [*lines, _total(found, tiers)]


def _cells(line: "Line", tiers: list[str]) -> list[str]:
    usage = line.usage
    counts = (line.requests, line.answered, usage.input_total, usage.output_total)
    amounts = (line.actual, line.at_today, *(line.tiers[tier] for tier in tiers))
    return [
        line.feature or "(none)",
        line.task or "(none)",
        *(f"{count:,}" for count in counts),
        *map(_usd, amounts),
    ]


def _total(found: "Mix", tiers: list[str]) -> list[str]:
    counts = zip(
        *((one.requests, one.answered, one.usage.input_total, one.usage.output_total) for one in found.lines),
        strict=True,
    )
    sums = [sum(column) for column in counts] or [0, 0, 0, 0]
    on_tiers = [_sum(line.tiers[tier] for line in found.lines) for tier in tiers]
    amounts = (found.actual, sum(line.at_today for line in found.lines), *on_tiers)
    return ["total", "", *(f"{count:,}" for count in sums), *map(_usd, amounts)]


def _sum(amounts: "Iterable[int | None]") -> int | None:
    known = list(amounts)
    return None if None in known else sum(amount or 0 for amount in known)


def _usd(amount: int | None) -> str:
    return NOT_KNOWN if amount is None else format_usd(amount)


def _tell_proposals(proposals: "Iterable[Proposal]") -> None:
    rows = [_proposal(one) for one in proposals]
    if not rows:
        typer.echo("No cheaper tier is untested for the traffic that was seen.")
        return
    right = ("requests a month", "could save USD a month", "eval items", "eval USD", "pays back in days")
    print_table(["task", "tier", "in place of", *right, "worth it", "it"], rows, right=right)


def _proposal(one: "Proposal") -> list[str]:
    trial = one.trial
    items = "out of reach" if trial.least is None else f"{trial.least:,}"
    if trial.suite and trial.least is not None:
        items += f" of {trial.most:,}"
    return [
        one.task,
        one.tier,
        one.instead_of,
        f"{one.requests:,}",
        format_usd(one.saving),
        items,
        format_usd(trial.cost),
        _days(one),
        _worth(one),
        one.why,
    ]


def _days(one: "Proposal") -> str:
    days = one.payback_days
    return NOT_KNOWN if days is None else f"{float(days):.2f}"


def _worth(one: "Proposal") -> str:
    trial = one.trial
    if trial.least is None:
        return "no: no suite can show what the task asks"
    if trial.suite and trial.least > trial.most:
        return f"no: suite {trial.suite} has too few items to pass"
    if not one.is_worth_it:
        return "no: it may cost more than it saves until the pass has to be renewed"
    return f"farthing eval run {trial.suite}" if trial.suite else "yes, with a suite for the task"


def _closing(found: "Mix") -> list[str]:
    spent = ", ".join(f"{format_usd(amount)} USD of {name}" for name, amount in found.net.spent.items()) or "nothing"
    return [
        f"Routing has saved {format_usd(found.net.saved)} USD net in these {float(found.days):.1f} days: "
        f"{format_usd(found.net.avoided)} USD that the reference tiers would have cost more for the same tokens, "
        f"less {spent}.",
        "Not known:",
        *(f"- {sentence}" for sentence in UNKNOWNS),
    ]


def members(found: "Mix") -> dict[str, Any]:
    """The review for JSON; amounts as exact decimal USD."""
    return {
        "days": round(float(found.days), 3),
        "actual_usd": format_usd(found.actual),
        "lines": [_line_members(line) for line in found.lines],
        "proposals": [_proposal_members(one) for one in found.proposals],
        "net": {
            "saved_usd": format_usd(found.net.saved),
            "avoided_usd": format_usd(found.net.avoided),
            "spent_usd": {name: format_usd(amount) for name, amount in found.net.spent.items()},
        },
        "not_known": list(UNKNOWNS),
    }


def _line_members(line: "Line") -> dict[str, Any]:
    return {
        "feature": line.feature,
        "task": line.task,
        "requests": line.requests,
        "answered": line.answered,
        "tokens": {"input": line.usage.input_total, "output": line.usage.output_total},
        "actual_usd": format_usd(line.actual),
        "outside_usd": format_usd(line.outside),
        "today_usd": format_usd(line.at_today),
        "tiers": {tier: _tier_members(line, tier) for tier in line.tiers},
    }


def _tier_members(line: "Line", tier: str) -> Mapping[str, str | None]:
    cost, saving = line.tiers[tier], line.saving(tier)
    return {
        "cost_usd": None if cost is None else format_usd(cost),
        "saving_usd": None if saving is None else format_usd(saving),
    }


def _proposal_members(one: "Proposal") -> dict[str, Any]:
    trial, days = one.trial, one.payback_days
    return {
        "task": one.task,
        "tier": one.tier,
        "instead_of": one.instead_of,
        "why": one.why,
        "requests_a_month": one.requests,
        "saving_a_month_usd": format_usd(one.saving),
        "eval": {
            "suite": trial.suite or None,
            "items_at_least": trial.least,
            "items_at_most": trial.most,
            "candidate_usd": format_usd(trial.candidate),
            "reference_usd": format_usd(trial.reference),
            "cost_usd": format_usd(trial.cost),
        },
        "payback_days": None if days is None else round(float(days), 3),
        "is_worth_it": one.is_worth_it,
    }
