"""Story: one record told in sentences, and its bill line by line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import orjson

from farthing.money import FEMTO_PER_TOKEN_OF_USD_PER_MTOK, format_usd
from farthing.record import Attempt, Billed, CacheOutcome, Extra, Outcome, Record
from farthing.tags import CACHE, SHADOW
from farthing.usage import TOKEN_CLASSES, UsageSource
from gateway.ids import made_ns
from gateway.periods import moment_of
from ledger.adjustments import Adjustment, upstream_seconds
from ledger.archive import archived_until
from ledger.charges import EXTERNAL
from ledger.database import Database
from ledger.price import PIECE_EXTRAS, TOKEN_EXTRAS

_ENDINGS: Final = {
    Outcome.SUCCESS: "It was answered.",
    Outcome.HIT: "It was answered from a cache; no model was called.",
    Outcome.REFUSED: "It was refused, and nothing was sent to a model",
    Outcome.REJECTED: "It was rejected as a bad request, and nothing was sent to a model",
    Outcome.UPSTREAM_ERROR: "The model provider failed",
    Outcome.ABORTED: "The client hung up before the end.",
    Outcome.GATEWAY_ERROR: "The gateway itself failed",
    Outcome.LOST: "The gateway was killed during the call, so all that was held for it was charged, as an estimate.",
}
_PURPOSES: Final = {
    "shadow": "what the model would have said, to compare it with a cached answer",
    "judge": "whether two answers say the same, one of them a cached one",
    "embed": "for the vector of a question",
}
"""By the purpose in the task of such a call."""
SOURCES: Final = {
    UsageSource.PROVIDER: "as the provider counted them",
    UsageSource.COMPUTED: "known without counting",
    UsageSource.ESTIMATED: "as estimated here, since the provider gave no usable count",
    UsageSource.INVOICE: "as corrected from the provider's bill",
}


def tell(record: Record) -> list[str]:
    """Sentences in the order of the path: who asked, where it went and why, how it ended, what it cost."""
    return [
        sentence
        for sentence in (_asked(record), _own(record), _routed(record), _ended(record), _paid(record))
        if sentence
    ]


def tell_corrections(adjustments: Iterable[Adjustment]) -> list[str]:
    """A sentence for each later correction of the cost, oldest first."""
    return [
        f"On {moment_of(one.created_ns):%Y-%m-%d %H:%M:%S UTC} its cost was corrected from "
        f"{format_usd(one.old_cost)} to {format_usd(one.new_cost)} USD by '{one.author or 'somebody'}': "
        f"{one.reason or 'no reason given'}."
        for one in adjustments
    ]


def _asked(record: Record) -> str:
    tags = record.tags
    when = moment_of(record.received_ns).strftime("%Y-%m-%d %H:%M:%S UTC")
    model = f"the model '{record.model_requested}'" if record.model_requested else "no readable model"
    who = f"key '{tags.key_id or 'unknown'}' of '{tags.tenant or 'unknown'}'"
    if record.endpoint == EXTERNAL:
        model = f"'{record.model_served}' of '{record.provider}'" if record.model_served else "something"
        text = f"On {when} {model} was used outside of the gateway, as {who} reported"
    else:
        text = f"On {when} {who} asked {record.endpoint} for {model}"
    text += f", for feature '{tags.feature}'" if tags.feature else ""
    if tags.task:
        source = f" ({_task_source(record.task_source)})" if record.task_source else ""
        text += f", task '{tags.task}'{source}"
    return text + (f", in run '{tags.run}'." if tags.run else ".")


_TOLD_BY: Final = {
    "system_prompt": "told by its system prompt",
    "rule": "told by a rule",
    "centroid": "told by examples",
}


def _task_source(source: str) -> str:
    return _TOLD_BY.get(source, f"named by the {source}")


def _own(record: Record) -> str:
    """What a call of the gateway's own was for; empty for a client's."""
    tags = record.tags
    purpose, _, feature = tags.task.partition(":")
    if tags.feature not in (SHADOW, CACHE) or tags.key_id != tags.feature or not feature:
        return ""
    if purpose not in _PURPOSES:
        return f"The gateway asked on its own account, to know how good the tiers are for feature '{feature}'."
    what = f"{_PURPOSES[purpose]} of feature '{feature}'"
    return f"The gateway asked on its own account: {what}, whose cache bears the cost."


def _routed(record: Record) -> str:
    if record.cache.is_hit:
        rule = f", served {record.route_reason}" if record.route_reason else ""
        return f"The {record.cache} cache had the answer, made earlier by '{record.model_served}'{rule}."
    if not record.tier and not record.route_reason:
        return ""
    where = f"tier '{record.tier}'" if record.tier else "the model asked for"
    text = f"Policy '{record.policy}' chose {where}" if record.policy else f"It went to {where}"
    text += f": {record.route_reason}." if record.route_reason else "."
    if record.cache is CacheOutcome.MISS:
        text += " The caches had no answer."
    if record.cache is CacheOutcome.PARTIAL and record.inputs_sent:
        rest = record.inputs - record.inputs_sent
        text += f" Of its {record.inputs} inputs {record.inputs_sent} were sent; {rest} were known, or asked for twice."
    return text


def _ended(record: Record) -> str:
    if record.endpoint == EXTERNAL:
        return ""
    text = _ENDINGS[record.outcome] if not record.refused_by else _refused(record)
    if not text.endswith("."):
        text += f" ({record.error_code or 'no code'}, HTTP {record.status})."
    if failed := [attempt for attempt in record.attempts if attempt.error]:
        named = ", ".join(f"{attempt.deployment} ({attempt.error}{_bill_of(attempt)})" for attempt in failed)
        text += f" Attempts that failed: {named}."
    if record.outcome is Outcome.LOST:
        return text  # how long it took is not known
    first = f", the first byte after {_span(record.first_byte_seconds)}" if record.first_byte_seconds else ""
    return f"{text} It took {_span(record.seconds)}{first}."


def _bill_of(attempt: Attempt) -> str:
    return f", billed {format_usd(attempt.cost)} USD" if attempt.cost else ""


def _refused(record: Record) -> str:
    """A call that was refused at first, or a stream that had no more money to go on."""
    budget, _, scope = record.refused_by.partition("|")
    refuser = f"budget '{budget}'" + (f" ({scope})" if scope else "")
    if record.outcome is Outcome.REFUSED:
        return f"It was refused by {refuser}, and nothing was sent to a model"
    return f"It was stopped before its end, since {refuser} had too little left for more"


def _span(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 0.001 else "less than 1 ms"


def _paid(record: Record) -> str:
    usage = record.usage
    text = f"It cost {format_usd(record.cost)} USD" if record.cost else "It cost nothing"
    if usage.input_total or usage.output_total:
        text += f" for {usage.input_total} tokens in and {usage.output_total} out, {SOURCES[usage.source]}"
    text += f", in service tier '{record.service_tier}'." if record.service_tier else "."
    text += _besides(record.extras)
    if record.stated_cost is not None:
        text += f" The provider itself stated {format_usd(record.stated_cost)} USD."
    if record.avoided_cache:
        text += f" The cache avoided {format_usd(record.avoided_cache)} USD."
    if record.avoided_routing:
        reference = f" '{record.reference_tier}'" if record.reference_tier else ""
        more = format_usd(record.avoided_routing)
        text += f" The reference tier{reference} would have cost {more} USD more."
    return text


def _besides(extras: tuple[Extra, ...]) -> str:
    things = [f"{extra.quantity:,} {words}" for extra in extras if (words := _THINGS.get(extra.name))]
    others = dict.fromkeys(extra.model for extra in extras if extra.model)
    text = f" In it, or beside its tokens: {', '.join(things)}." if things else ""
    return text + "".join(f" A part of the answer was made by '{model}'." for model in others)


_THINGS: Final = {
    "cached_audio": "tokens of cached audio",
    "cached_image": "tokens of cached images",
    "input_video": "tokens of video in the input",
    "output_image": "tokens of images in the output",
    "output_video": "tokens of video in the output",
    "output_citation": "tokens of citations",
    "web_searches": "web searches",
    "storage_searches": "searches of stored files",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One line of the bill, as text: `rate` in USD per million tokens (or per request or second), `amount` in
    USD."""

    name: str
    quantity: str
    rate: str
    amount: str


def charges(record: Record) -> list[Charge]:
    """The bill of a record at the rates and with the extras kept with it. Lines are exact; the booked cost is rounded
    to 1e-9 USD, tokens together and extras together."""
    own = [*_charges(record, orjson.loads(record.rates or "{}")), *map(_extra_charge, record.extras)]
    return own + [_failure_charge(attempt, attempt.billed) for attempt in record.attempts if attempt.billed]


def _charges(record: Record, rates: dict[str, int]) -> Iterator[Charge]:
    for name in TOKEN_CLASSES:
        tokens, femto = getattr(record.usage, name), rates.get(name, 0)
        if tokens:
            rate = Decimal(femto) / FEMTO_PER_TOKEN_OF_USD_PER_MTOK
            yield Charge(
                name=name,
                quantity=f"{tokens:,}",
                rate=_plain(rate),
                amount=_plain(Decimal(tokens * femto).scaleb(-15)),
            )
    if fee := rates.get("per_request"):
        yield Charge(name="per_request", quantity="1", rate="—", amount=format_usd(fee))
    if fee := rates.get("per_second"):
        seconds = upstream_seconds(record)
        micros = round(seconds * 1e6)
        amount = Decimal(fee * micros).scaleb(-15)
        yield Charge(name="per_second", quantity=f"{seconds:.3f} s", rate="—", amount=_plain(amount))


def _failure_charge(attempt: Attempt, billed: Billed) -> Charge:
    tokens = billed.usage.input_total + billed.usage.output_total
    name = f"attempt at {attempt.deployment} that failed"
    return Charge(name=name, quantity=f"{tokens:,}", rate="—", amount=format_usd(attempt.cost))


def _extra_charge(extra: Extra) -> Charge:
    """A line for what is no token of its own: by the piece, or beyond what its tokens cost in the lines above."""
    by = f" by {extra.model}" if extra.model else ", another part" if extra.part else ""
    if extra.name in PIECE_EXTRAS:
        name, rate = f"{extra.name}{by}", f"{_plain(Decimal(extra.rate).scaleb(-15))} each"
    else:
        counted_as = TOKEN_EXTRAS.get(extra.name, ("", extra.name))[1]
        name = f"{extra.name}{by}, beyond {counted_as}" if counted_as else f"{extra.name}{by}"
        rate = _plain(Decimal(extra.rate) / FEMTO_PER_TOKEN_OF_USD_PER_MTOK)
    amount = Decimal(extra.quantity * extra.rate).scaleb(-15)
    return Charge(name=name, quantity=f"{extra.quantity:,}", rate=rate, amount=_plain(amount))


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def where_else(database: Database, request_id: str) -> str:
    """Where the record of a request may be that the ledger does not have: a sentence. Raises LedgerUnavailable.
    Blocks."""
    archived_ns, asked_ns = archived_until(database), made_ns(request_id)
    if not archived_ns or (asked_ns is not None and asked_ns >= archived_ns):
        return "It may still be under way."
    if asked_ns is None:
        before = f"{moment_of(archived_ns):%Y-%m-%d}"
        return f"It may still be under way; if it was made before {before}, it may be archived: {_files('DAY')}"
    day = f"{moment_of(asked_ns):%Y-%m-%d}"
    return f"It was made on {day}, so it may be archived: {_files(day)}"


def _files(day: str) -> str:
    return (
        f"look for records-{day}-*.parquet in `ledger.archive` (if not set: archive in data_dir), or where "
        "`farthing ledger archive --to` wrote; `farthing ledger restore FILE` brings it back."
    )
