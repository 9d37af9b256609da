"""Prompt savings: what a provider's prompt cache saved in one call, and what writing to it cost beyond other input."""

from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from farthing.money import ZERO, Nano, nano_from_femto
from farthing.usage import Usage

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
