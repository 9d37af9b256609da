"""Money: integer nano-dollars, integer rates, and the one place where a cost is rounded.

Amounts are `Nano` (1e-9 USD). Rates are integers in femto-dollars (1e-15 USD) a token, so that
the cheapest published price (a few nano-dollars a token, with decimals) is exact and no float
ever touches a bill: 1 USD per million tokens = 1e9 femto-dollars a token.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NewType

from farthing.usage import TOKEN_CLASSES, Usage

Nano = NewType("Nano", int)

ZERO: Final = Nano(0)
NANO_PER_USD: Final = 10**9
FEMTO_PER_NANO: Final = 10**6
FEMTO_PER_TOKEN_OF_USD_PER_MTOK: Final = 10**9


def nano_from_usd(usd: Decimal | int | str) -> Nano:
    """Nano-dollars of an exact decimal amount of USD, rounded half-even; raises ArithmeticError on NaN."""
    return Nano(int((Decimal(usd) * NANO_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN)))


def usd_from_nano(amount: Nano | int) -> Decimal:
    """The exact decimal amount of USD."""
    return Decimal(amount).scaleb(-9)


def format_usd(amount: Nano | int, places: int = 9) -> str:
    """A plain decimal string of USD, e.g. `0.000012500`; never scientific notation."""
    if places == 9 and amount >= 0:
        dollars, rest = divmod(amount, NANO_PER_USD)
        return f"{dollars}.{rest:09d}"
    return f"{usd_from_nano(amount):.{places}f}"


def femto_per_token(usd_per_mtok: Decimal | int | str) -> int:
    """Femto-dollars a token from USD per million tokens; raises ValueError for a negative or absurd rate."""
    rate = Decimal(usd_per_mtok)
    if not rate.is_finite() or rate < 0 or rate > 10**6:
        raise ValueError(f"a rate must lie between 0 and 1,000,000 USD per million tokens, not {usd_per_mtok}")
    return int((rate * FEMTO_PER_TOKEN_OF_USD_PER_MTOK).to_integral_value(rounding=ROUND_HALF_EVEN))


def nano_from_femto(femto: int) -> Nano:
    """Nano-dollars of femto-dollars, rounded half-even."""
    return Nano(_round_half_even(femto, FEMTO_PER_NANO))


def _round_half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    twice = rest * 2
    return quotient + (twice > denominator or (twice == denominator and quotient & 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one call is charged: femto-dollars a token for every token class, nano-dollars a request and a second.

    Field names of the token rates are the names of `farthing.usage.TOKEN_CLASSES`.
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
    per_request: Nano = ZERO
    per_second: Nano = ZERO

    def cost(self, usage: Usage, seconds: float = 0.0) -> Nano:
        """Nano-dollars of `usage` plus the request fee plus upstream `seconds`; rounded half-even once."""
        femto = (
            usage.input_uncached * self.input_uncached
            + usage.cache_read * self.cache_read
            + usage.cache_write_5m * self.cache_write_5m
            + usage.cache_write_1h * self.cache_write_1h
            + usage.output * self.output
            + usage.reasoning * self.reasoning
            + usage.input_audio * self.input_audio
            + usage.output_audio * self.output_audio
            + usage.input_image * self.input_image
        )
        if self.per_second:
            # Time is metered in whole microseconds: an integer, so that replaying a row gives the same cost.
            femto += self.per_second * round(seconds * 1e6)
        return Nano(self.per_request + _round_half_even(femto, FEMTO_PER_NANO))

    @property
    def dearest_input(self) -> int:
        """The highest rate that one input token can cost, femto-dollars."""
        return max(
            self.input_uncached,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.input_audio,
            self.input_image,
        )

    @property
    def dearest_output(self) -> int:
        """The highest rate that one output token can cost, femto-dollars."""
        return max(self.output, self.reasoning, self.output_audio)

    def bound(self, input_tokens: int, output_tokens: int, seconds: float = 0.0) -> Nano:
        """Nano-dollars that a call cannot exceed with at most so many tokens and seconds; rounded up."""
        femto = input_tokens * self.dearest_input + output_tokens * self.dearest_output
        femto += self.per_second * int(seconds * 1e6 + 1) if self.per_second else 0
        return Nano(self.per_request - (-femto // FEMTO_PER_NANO))

    def as_dict(self) -> dict[str, int]:
        """The non-zero rates by name, to be kept with each charge."""
        names = (*TOKEN_CLASSES, "per_request", "per_second")
        return {name: value for name in names if (value := getattr(self, name))}


FREE: Final = Rates()
