"""Rows: a Record as a tuple of plain SQLite values in the order of the table's columns, and back."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from farthing.money import Nano
from farthing.record import Attempt, CacheOutcome, Extra, Outcome, Record
from farthing.tags import Tags
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from farthing.value import changed
from ledger.price import tier_in

Row = tuple[Any, ...]

COLUMNS: Final = (
    "id",
    "tenant",
    "key_id",
    "feature",
    "task",
    "run",
    "environment",
    "team",
    "endpoint",
    "stream",
    "received_ns",
    "outcome",
    "status",
    "model_requested",
    "model_served",
    "provider",
    "deployment",
    "tier",
    "reference_tier",
    "policy",
    "route_reason",
    "task_source",
    "cache",
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "input_audio",
    "output_audio",
    "input_image",
    "usage_source",
    "cost",
    "avoided_cache",
    "avoided_routing",
    "rates",
    "price_version",
    "seconds",
    "first_byte_seconds",
    "error_code",
    "finish_reason",
    "attempts",
    "service_tier",
    "stated_cost",
    "refused_by",
    "extras",
    "inputs",
    "inputs_sent",
)
"""The columns of `records`; migrations append, they never reorder."""
REALS: Final = ("seconds", "first_byte_seconds")
INTEGERS: Final = (
    *("stream", "received_ns", "status", "cost", "avoided_cache", "avoided_routing", "stated_cost"),
    *("inputs", "inputs_sent"),
    *TOKEN_CLASSES,
)
"""Those that hold numbers; all others hold text."""
_LATER: Final[Row] = ("", None, "", "[]", 0, 0)
"""What the last columns are in a row that was written before there were any: in a draft, which nothing upgrades."""

_encode: Final = msgspec.json.Encoder().encode
_decode_attempts: Final = msgspec.json.Decoder(tuple[Attempt, ...]).decode
_decode_extras: Final = msgspec.json.Decoder(tuple[Extra, ...]).decode
_decode_draft: Final = msgspec.json.Decoder(list[Any]).decode


def insertion(template: str) -> str:
    """A statement with the columns of a record for `{columns}` and a place for each for `{places}`."""
    return template.format(columns=", ".join(COLUMNS), places=", ".join("?" * len(COLUMNS)))


def row_of(record: Record) -> Row:
    """The row of a record; enums become exact `str` because sqlite3 binds subclasses several times slower."""
    tags, usage, attempts = record.tags, record.usage, record.attempts
    return (
        record.id,
        tags.tenant,
        tags.key_id,
        tags.feature,
        tags.task,
        tags.run,
        tags.environment,
        tags.team,
        str.__str__(record.endpoint),
        1 if record.stream else 0,
        record.received_ns,
        record.outcome._value_,
        record.status,
        record.model_requested,
        record.model_served,
        record.provider,
        record.deployment,
        record.tier,
        record.reference_tier,
        record.policy,
        record.route_reason,
        record.task_source,
        record.cache._value_,
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.output,
        usage.reasoning,
        usage.input_audio,
        usage.output_audio,
        usage.input_image,
        usage.source._value_,
        record.cost,
        record.avoided_cache,
        record.avoided_routing,
        record.rates,
        record.price_version,
        record.seconds,
        record.first_byte_seconds,
        record.error_code,
        record.finish_reason,
        _encode(attempts).decode() if attempts else "[]",
        record.service_tier,
        record.stated_cost,
        record.refused_by,
        extras_text(record.extras),
        record.inputs,
        record.inputs_sent,
    )


def extras_text(extras: tuple[Extra, ...]) -> str:
    """The extras of a charge as they are kept."""
    return _encode(extras).decode() if extras else "[]"


def record_of(row: Sequence[Any]) -> Record:
    """The record of a row in the order of COLUMNS; of an older one, which has fewer, too."""
    if (missing := len(COLUMNS) - len(row)) > 0:
        row = (*row, *_LATER[-missing:])
    return Record(
        id=row[0],
        tags=Tags(
            tenant=row[1],
            key_id=row[2],
            feature=row[3],
            task=row[4],
            run=row[5],
            environment=row[6],
            team=row[7],
        ),
        endpoint=row[8],
        stream=bool(row[9]),
        received_ns=row[10],
        outcome=Outcome(row[11]),
        status=row[12],
        model_requested=row[13],
        model_served=row[14],
        provider=row[15],
        deployment=row[16],
        tier=row[17],
        reference_tier=row[18],
        policy=row[19],
        route_reason=row[20],
        task_source=row[21],
        cache=CacheOutcome(row[22]),
        usage=Usage(
            input_uncached=row[23],
            cache_read=row[24],
            cache_write_5m=row[25],
            cache_write_1h=row[26],
            output=row[27],
            reasoning=row[28],
            input_audio=row[29],
            output_audio=row[30],
            input_image=row[31],
            source=UsageSource(row[32]),
        ),
        cost=Nano(row[33]),
        avoided_cache=Nano(row[34]),
        avoided_routing=Nano(row[35]),
        rates=row[36],
        price_version=row[37],
        seconds=row[38],
        first_byte_seconds=row[39],
        error_code=row[40],
        finish_reason=row[41],
        attempts=_decode_attempts(row[42]),
        service_tier=row[43] or tier_in(row[37]),  # which is where it was kept before it had a column
        stated_cost=row[44],
        refused_by=row[45],
        extras=_decode_extras(row[46]),
        inputs=row[47],
        inputs_sent=row[48],
    )


def draft_of(record: Record) -> str:
    """The row as JSON text, to be kept beside a hold."""
    return _encode(row_of(record)).decode()


def lost(draft: str, amount: Nano) -> Record:
    """The record of a call that nobody settled: the draft, charged the whole hold, marked as an estimate."""
    record = record_of(_decode_draft(draft))
    return charged_as_lost(record, amount)


def charged_as_lost(draft: Record, amount: Nano) -> Record:
    """A draft with outcome LOST and the hold's amount as its estimated cost."""
    usage = changed(draft.usage, source=UsageSource.ESTIMATED)
    return changed(draft, outcome=Outcome.LOST, cost=amount, usage=usage)
