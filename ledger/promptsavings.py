"""Prompt savings: what providers' prompt caches saved, and what writing to them cost beyond other input."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from farthing.money import ZERO, Nano, nano_from_femto
from farthing.usage import INPUT_CLASSES, Usage
from ledger.database import Database, read_statements

_PROMPTS: Final = read_statements("promptsavings")["prompts"].format(inputs=" + ".join(INPUT_CLASSES))

_decode: Final = msgspec.json.Decoder(dict[str, int]).decode


class PromptCacheEffect(NamedTuple):
    """Nano-dollars; what was saved in all is `saved - premium`, and may be negative."""

    saved: Nano
    premium: Nano


_NONE: Final = PromptCacheEffect(ZERO, ZERO)


def prompt_cache_effect(usage: Usage, rates: str) -> PromptCacheEffect:
    """Of a record, at its own rates (as JSON text, femto-dollars a token):

    saved = read x (input - read rate), premium = written for 5 minutes x (its rate - input) + the same for an hour.
    """
    if not (usage.cache_read or usage.cache_write_5m or usage.cache_write_1h):
        return _NONE
    input_, read, write_5m, write_1h = _cache_rates(rates)
    saved = usage.cache_read * max(input_ - read, 0)
    premium = usage.cache_write_5m * max(write_5m - input_, 0) + usage.cache_write_1h * max(write_1h - input_, 0)
    return PromptCacheEffect(nano_from_femto(saved), nano_from_femto(premium))


@lru_cache(maxsize=256)
def _cache_rates(rates: str) -> tuple[int, int, int, int]:
    known = _decode(rates)
    names = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h")
    input_, read, write_5m, write_1h = (known.get(name, 0) for name in names)
    return input_, read, write_5m, write_1h


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSavings:
    """What the prompt cache of one model did for a feature: `reads` of the `calls` found something there. Tokens:
    `inputs` in all, of which `read` and `written`."""

    feature: str
    provider: str
    model: str
    calls: int
    reads: int
    inputs: int
    read: int
    written: int
    saved: Nano
    premium: Nano

    @property
    def net(self) -> Nano:
        """What was saved in all; less than nothing where more was written than came again."""
        return Nano(self.saved - self.premium)

    @property
    def read_share(self) -> float:
        """The part of all input tokens that was read."""
        return self.read / self.inputs if self.inputs else 0.0


def prompt_savings(database: Database, *, since_ns: int, until_ns: int) -> list[PromptSavings]:
    """Of the records received in [since_ns, until_ns), those in an archive left out; what saved most first, and models
    whose prompt cache was neither read nor written left out. Blocks. Raises LedgerUnavailable."""
    with database.reading() as session:
        rows = session.execute(_PROMPTS, {"since": since_ns, "until": until_ns}).fetchall()
    sums: dict[tuple[str, str, str], list[int]] = {}
    for feature, provider, model, rates, calls, reads, inputs, read, write_5m, write_1h in rows:
        usage = Usage(cache_read=int(read), cache_write_5m=int(write_5m), cache_write_1h=int(write_1h))
        saved, premium = prompt_cache_effect(usage, rates)
        figures = (calls, reads, inputs, read, write_5m + write_1h, saved, premium)
        known = sums.setdefault((feature, provider, model), [0] * len(figures))
        sums[feature, provider, model] = [a + int(b) for a, b in zip(known, figures, strict=True)]
    found = [_savings(*names, figures) for names, figures in sums.items()]
    told = [one for one in found if one.read or one.written]
    return sorted(told, key=lambda one: (-one.net, one.feature, one.provider, one.model))


def _savings(feature: str, provider: str, model: str, figures: list[int]) -> PromptSavings:
    calls, reads, inputs, read, written, saved, premium = figures
    return PromptSavings(
        feature=feature,
        provider=provider,
        model=model,
        calls=calls,
        reads=reads,
        inputs=inputs,
        read=read,
        written=written,
        saved=Nano(saved),
        premium=Nano(premium),
    )
