"""What every recorded stream of a real provider costs: usage, price on its day, and where the figures come from.

`python -m bench.usage_golden` prints the table, `--json` writes docs/results/usage.json. It needs the recordings in
../shared (their README names source and licence).
"""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from genai_prices.data_snapshot import get_snapshot

from bench.results import DIRECTORY, write_result
from farthing.errors import UnpricedModel
from farthing.money import Nano, format_usd
from farthing.sse import Reader
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from ledger.bills import Bill, bill_for
from ledger.prices import PriceBook
from ledger.statement import Portion, Statement
from ledger.tokens import count_tokens
from ledger.usage import UsageReader, estimate

RECORDINGS: Final = Path(__file__).parents[2] / "shared" / "data" / "sse" / "pydantic-ai"
RESULT: Final = DIRECTORY / "usage.json"
COMMAND: Final = "python -m bench.usage_golden --json"
_COMMITTED: Final = datetime(2026, 8, 22, tzinfo=UTC)
"""The day of the commit that holds the recordings: for those that do not say when they were made."""
_EARLIEST: Final = datetime(2024, 1, 1, tzinfo=UTC)
_NOTE: Final = (
    "158 recordings, from the test suite of pydantic-ai (MIT). `cost_usd` is at the price of the model on the day of "
    "the stream (`day`; its own `created`, else the day of the recordings' commit). "
    "`stated_usd` is what the provider itself says. `source` tells where the figures come from: `provider`; "
    "`estimated` (and why); `not a model` for tool servers. Requests were not recorded: an estimate is of the output "
    "alone. A class of tokens that no recording has is left out."
)
_FREE_OF: Final = frozenset({"cache_write_1h", "output_audio", "input_audio", "input_image"})
"""Classes that occur in no recording; a test watches."""


def manifest() -> list[dict[str, str]]:
    """The rows of the manifest; none where the recordings are not beside this checkout."""
    path = RECORDINGS / "MANIFEST.tsv"
    if not path.exists():
        return []
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def events(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a recorded stream."""
    reader = Reader()
    for event in (*reader.feed(path.read_bytes()), *reader.close()):
        try:
            parsed = json.loads(event.data)
        except ValueError:
            continue
        if isinstance(parsed, dict):
            yield parsed


def rows() -> list[dict[str, str | int | None]]:
    """The table, one row a recording."""
    book = PriceBook()
    return [_row(book, entry) for entry in manifest()]


def _row(book: PriceBook, entry: Mapping[str, str]) -> dict[str, str | int | None]:
    stream = list(events(RECORDINGS / entry["file"]))
    reader = UsageReader()
    for event in stream:
        reader.take(event)
    at = _when(stream)
    statement, source = _statement(reader, stream, entry)
    provider = _provider(entry["url"])
    bill = _bill(book, provider, entry["model"], statement, at) if statement else None
    if bill is not None and bill.assumptions:
        source = f"estimated: {'; '.join(bill.assumptions)}"
    usage = statement.usage if statement else Usage(source=UsageSource.COMPUTED)
    return {
        "recording": entry["file"],
        "provider": provider or entry["host"],
        "model": entry["model"],
        "day": at.date().isoformat(),
        **{name: getattr(usage, name) for name in TOKEN_CLASSES if name not in _FREE_OF},
        "besides": _besides(statement),
        "tier": statement.service_tier if statement else "",
        "cost_usd": format_usd(bill.cost) if bill else "unpriced" if statement else None,
        "stated_usd": _stated(statement),
        "source": source,
    }


def _statement(
    reader: UsageReader, stream: list[dict[str, Any]], entry: Mapping[str, str]
) -> tuple[Statement | None, str]:
    if reader.statement is not None:
        return reader.statement, UsageSource.PROVIDER.value
    if entry["wire"] == "mcp":
        return None, "not a model"
    counted = estimate(input_tokens=0, output_tokens=count_tokens(_texts(stream)))
    return Statement(portions=(Portion(usage=counted),)), "estimated: the stream broke before its usage"


def _texts(stream: list[dict[str, Any]]) -> Iterator[str]:
    """Every kind of text that a chat stream delivered, each whole."""
    parts: dict[str, list[str]] = {}
    for event in stream:
        for choice in event.get("choices") or ():
            for name, part in (choice.get("delta") or {}).items():
                if isinstance(part, str) and name != "role":
                    parts.setdefault(name, []).append(part)
    return ("".join(part) for part in parts.values())


def _bill(book: PriceBook, provider: str, model: str, statement: Statement, at: datetime) -> Bill | None:
    try:
        return bill_for(book, provider, model, statement, at_ns=int(at.timestamp()) * 10**9)
    except UnpricedModel:
        return None


def _provider(url: str) -> str:
    """The provider's name in the price list, empty for one that is not there."""
    try:
        return str(get_snapshot().find_provider(None, None, url).id)
    except LookupError:
        return ""


def _when(stream: list[dict[str, Any]]) -> datetime:
    for event in stream:
        holder = event.get("response")
        holder = holder if isinstance(holder, dict) else event
        created = holder.get("created_at", holder.get("created"))
        if isinstance(created, int | float) and (at := datetime.fromtimestamp(int(created), UTC)) > _EARLIEST:
            return at
    return _COMMITTED


def _besides(statement: Statement | None) -> str:
    """Extras, and the portions of an answer that has several."""
    if statement is None:
        return ""
    told = [f"{name} {number}" for name, number in statement.extras.items()]
    portions = statement.portions
    if len(portions) > 1:
        told += [" ".join(filter(None, (portion.kind or "answer", portion.model))) for portion in portions]
    return ", ".join(told)


def _stated(statement: Statement | None) -> str | None:
    stated: Nano | None = statement.stated_cost if statement else None
    return None if stated is None else format_usd(stated)


def main() -> None:
    """Print the table or write it."""
    table = rows()
    if not table:
        sys.exit(f"There are no recordings in {RECORDINGS}.")
    if "--json" in sys.argv[1:]:
        write_result(RESULT, name="Usage and cost of recorded streams", command=COMMAND, figures=table, note=_NOTE)
    else:
        for row in table:
            print("\t".join("" if value is None else str(value) for value in row.values()))


if __name__ == "__main__":
    main()
