"""Usage: the disjoint token classes of one answer, and where the figures came from."""

from enum import StrEnum
from typing import Final

from farthing.value import Value

TOKEN_CLASSES: Final = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "input_audio",
    "output_audio",
    "input_image",
)
INPUT_CLASSES: Final = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
)


class UsageSource(StrEnum):
    """Where a figure on the books came from."""

    PROVIDER = "provider"
    """The provider's own usage object."""
    COMPUTED = "computed"
    """Nothing was sent upstream: a hit or a refusal, zero by construction."""
    ESTIMATED = "estimated"
    """The provider gave none (or an absurd one): counted by us, or bounded by the hold."""
    INVOICE = "invoice"
    """A later correction from the provider's bill."""


class Usage(Value, frozen=True, kw_only=True):
    """Tokens by class; no token is counted in two classes.

    `output` excludes `reasoning` and audio; `input_uncached` excludes every cached, written, audio and image token.
    """

    input_uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    input_image: int = 0
    source: UsageSource = UsageSource.PROVIDER

    @property
    def input_total(self) -> int:
        """Every token that went in, cached or not."""
        return (
            self.input_uncached
            + self.cache_read
            + self.cache_write_5m
            + self.cache_write_1h
            + self.input_audio
            + self.input_image
        )

    @property
    def output_total(self) -> int:
        """Every token that came out, reasoning and audio included."""
        return self.output + self.reasoning + self.output_audio


NO_USAGE: Final = Usage(source=UsageSource.COMPUTED)
