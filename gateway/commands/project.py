"""Project: what a change would cost, from what ledger and cache have seen."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farthing.money import format_usd
from gateway.commands.surroundings import CLOCK, ConfigOption, ledger_of, load_settings, print_table
from gateway.logs import printable
from gateway.periods import moment_of, parse_moment

if TYPE_CHECKING:
    from gateway.reembedding import Bill, Reembedding
    from ledger.prices import PriceBook


class Form(StrEnum):
    """How a projection is written."""

    TABLE = "table"
    JSON = "json"


def project_reembed(
    from_: Annotated[str, typer.Option("--from", help="The model in use, as clients or its provider name it.")],
    to: Annotated[str, typer.Option(help="The model to go to: one of the configuration, or PROVIDER/MODEL.")],
    feature: Annotated[str, typer.Option(help="Only what this feature embeds.", show_default=False)] = "",
    since: Annotated[str, typer.Option(help="30d, 12h, 4w (ago), a date, or an ISO 8601 time.")] = "90d",
    dimensions: Annotated[int | None, typer.Option(help="Those of the new vectors.", min=1, show_default=False)] = None,
    format_: Annotated[Form, typer.Option("--format", help="How to write it.")] = Form.TABLE,
    config: ConfigOption = None,
) -> None:
    """What it would cost to embed everything again with another model."""
    from cache.stores.survey import kept_vectors
    from gateway.files import Files
    from gateway.reembedding import find_target, names_of, project, unknowns
    from gateway.spendquery import check_ledger
    from ledger.embedded import embedding_traffic
    from ledger.prices import PriceBook

    settings, now_ns = load_settings(config), CLOCK.wall_ns()
    book, database = PriceBook(settings.prices), ledger_of(settings)
    check_ledger(database)
    answers = None if settings.cache.url else Files.below(settings.data_dir).answers
    models, since_ns = names_of(settings.catalog, from_), parse_moment(since, now_ns)
    found = project(
        models=models,
        target=find_target(settings.catalog, book, name=to, like=from_, at_ns=now_ns),
        vectors=kept_vectors(answers, now_ns) if answers else (),
        traffic=embedding_traffic(database, models=models, feature=feature, since_ns=since_ns, until_ns=now_ns),
        feature=feature,
        dimensions=dimensions,
    )
    unknown = unknowns(found, has_file=answers is not None and answers.exists())
    if format_ is Form.JSON:
        typer.echo(json.dumps(_members(found, book, since_ns, feature, unknown), indent=2))
        return
    for line in _heading(found, book, since_ns, feature):
        typer.echo(printable(line))
    print_table(*_table(found), right=["inputs", "tokens", "USD", "USD in batches"])
    for line in [*_storage(found), *_running(found), "", "Not known:", *(f"- {sentence}" for sentence in unknown)]:
        typer.echo(printable(line))


def _heading(found: "Reembedding", book: "PriceBook", since_ns: int, feature: str) -> list[str]:
    target = found.target
    rate = target.price.rates(1).input_uncached  # femto-dollars a token are nano-dollars a million of them
    of = f" of feature {feature}" if feature else ""
    return [
        f"From {', '.join(found.models)} to {target.provider} {target.model}{of}, "
        f"with what was seen since {moment_of(since_ns):%Y-%m-%d}.",
        f"A million tokens of it cost {format_usd(rate)} USD today ({book.version}).",
    ]


def _table(found: "Reembedding") -> tuple[list[str], list[list[str]]]:
    traffic = found.traffic
    heads = ["what", "inputs", "tokens", "USD", "USD in batches"]
    sent = f"{traffic.inputs_sent:,}" if traffic.counted else "not known"
    return heads, [
        ["distinct inputs in the cache now", f"{found.inputs:,}", *_amounts(found.kept)],
        ["everything that was sent, repeats included", sent, *_amounts(found.sent)],
    ]


def _amounts(bill: "Bill") -> list[str]:
    batch = "not sold" if bill.batch_cost is None else format_usd(bill.batch_cost)
    return [f"{bill.tokens:,}", format_usd(bill.cost), batch]


def _storage(found: "Reembedding") -> list[str]:
    before = ", ".join(map(str, found.from_dimensions)) or "not known"
    then = "not known" if found.to_dimension is None else str(found.to_dimension)
    text = f"Dimensions: {before} now, {then} then."
    if found.bytes_then is not None and found.inputs:
        text += f" Float32 of the inputs in the cache: {found.bytes_now:,} bytes now, {found.bytes_then:,} then."
    return [text]


def _running(found: "Reembedding") -> list[str]:
    traffic = found.traffic
    return [
        f"Running cost: {traffic.requests:,} calls in this period cost {format_usd(traffic.cost)} USD when they were "
        f"made; with the new model, at today's price, their tokens cost {format_usd(found.sent.cost)} USD.",
    ]


def _members(
    found: "Reembedding", book: "PriceBook", since_ns: int, feature: str, unknown: list[str]
) -> dict[str, Any]:
    target, traffic = found.target, found.traffic
    return {
        "from": list(found.models),
        "to": {"provider": target.provider, "model": target.model, "price_book": book.version},
        "feature": feature or None,
        "since": moment_of(since_ns).isoformat(),
        "kept": {"inputs": found.inputs, **_bill_members(found.kept)},
        "sent": {
            "requests": traffic.requests,
            "requests_with_inputs": traffic.counted,
            "inputs": traffic.inputs,
            "inputs_sent": traffic.inputs_sent,
            "cost_then_usd": format_usd(traffic.cost),
            "avoided_then_usd": format_usd(traffic.avoided),
            **_bill_members(found.sent),
        },
        "dimensions": {"from": list(found.from_dimensions), "to": found.to_dimension},
        "vector_bytes": {"now": found.bytes_now, "then": found.bytes_then},
        "not_known": unknown,
    }


def _bill_members(bill: "Bill") -> dict[str, Any]:
    batch = None if bill.batch_cost is None else format_usd(bill.batch_cost)
    return {"tokens": bill.tokens, "cost_usd": format_usd(bill.cost), "batch_cost_usd": batch}
