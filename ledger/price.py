"""Price: what a model costs in one price period and service tier."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from farthing.errors import UnpricedModel
from farthing.money import Rates
from farthing.usage import TOKEN_CLASSES

TOKEN_EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    "cached_audio": ("cache_audio_read_mtok", "cache_read"),
    "cached_image": ("cache_image_read_mtok", "cache_read"),
    "input_video": ("input_video_mtok", "input_uncached"),
    "output_image": ("output_image_mtok", "output"),
    "output_video": ("output_video_mtok", "output"),
    "output_citation": ("output_citation_mtok", ""),
}
"""By name in `Portion.extras`: the price of the tokens, and the class in which they are counted already, at whose rate
they are charged where they have no price of their own."""

PIECE_EXTRAS: Final[Mapping[str, str]] = {
    "web_searches": "web_searches_kcount",
    "storage_searches": "storage_searches_kcount",
}
"""By name in `Portion.extras`: the price of a thousand of what is billed by the piece."""

STANDARD: Final = frozenset({"", "default", "standard", "standard_only", "on_demand"})
"""What providers call the tier that is not special."""


class UnpricedTier(UnpricedModel):
    """The model has no price in that service tier, and the standard price would be a guess."""

    def __init__(self, provider: str, model: str, tier: str, known: Sequence[str]) -> None:
        super().__init__(provider, model)
        others = f" Known: {', '.join(known)}." if known else ""
        self.args = (
            f"No price is known for service tier '{tier}' of model '{model}' of provider '{provider}'.{others}",
        )
        self.param = "service_tier"
        self.tier = tier


class UnpricedExtra(UnpricedModel):
    """The model has no price for something beside its tokens, and nothing would be a guess."""

    def __init__(self, provider: str, model: str, name: str) -> None:
        super().__init__(provider, model)
        self.args = (
            f"No price is known for `{name}` of model '{model}' of provider '{provider}': add it to an entry under "
            "`prices:` with input_per_mtok and output_per_mtok, or state what was paid.",
        )
        self.param = f"extras.{name}"


class UnpricedClass(UnpricedModel):
    """The price list charges the model by something that is not counted here, and the rest would be a guess."""

    def __init__(self, provider: str, model: str, names: Iterable[str]) -> None:
        super().__init__(provider, model)
        self.args = (
            f"The price list charges model '{model}' of provider '{provider}' also by {', '.join(sorted(names))}, "
            f"which Farthing does not count. If it is used for something else, add an entry with provider: {provider}, "
            f"model: {model}, input_per_mtok and output_per_mtok under `prices:`.",
        )


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs in one price period and service tier. `steps` are (input tokens above which they apply,
    rates), rising from -1; `version` is that of the price book. `extras` are, step by step, femto-dollars an item by
    the names of `Portion.extras`, beyond the rate of the class in which its tokens are counted. `is_assumed`: the tier
    has no known price, and these are the dearest that the model has."""

    version: str
    steps: tuple[tuple[int, Rates], ...]
    extras: tuple[Mapping[str, int], ...] = ()
    is_assumed: bool = False
    _ceiling: Rates = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tables = self.extras or ({},) * len(self.steps)
        dearest = [_with_extras(rates, table) for (_, rates), table in zip(self.steps, tables, strict=True)]
        object.__setattr__(self, "_ceiling", highest(dearest))  # once: it is asked for by every hold

    def rates(self, input_tokens: int) -> Rates:
        """The rates of a request with so many input tokens, cached ones included. A context tier is a cliff: past
        its threshold every token of the request pays the tier's rate."""
        if len(self.steps) == 1:
            return self.steps[0][1]
        return next(rates for above, rates in reversed(self.steps) if input_tokens > above)

    def ceiling(self) -> Rates:
        """For every class the highest rate of any context tier, that of its dearest extra included (images in the
        output may cost ten times the text): no token in this service tier is charged more. Things that are in no
        class, such as searches, are not in it."""
        return self._ceiling

    def listed(self) -> list[tuple[int, dict[str, int]]]:
        """For every step the input tokens above which it applies and its prices by name, see `listed`."""
        tables = self.extras or ({},) * len(self.steps)
        return [(above, listed(rates, table)) for (above, rates), table in zip(self.steps, tables, strict=True)]

    def extra_rates(self, input_tokens: int) -> Mapping[str, int]:
        """The rates of extras (see `extras`) in a request with so many input tokens; what is missing has no price."""
        at = [above for above, _ in self.steps if input_tokens > above]
        return self.extras[max(len(at), 1) - 1] if self.extras else {}


def listed(rates: Rates, table: Mapping[str, int]) -> dict[str, int]:
    """Every price of one step by its name, for people: what `Rates.as_dict` has, and the extras that have a price of
    their own, femto-dollars an item in all."""
    prices = rates.as_dict()
    for name, beyond in table.items():
        counted_as = TOKEN_EXTRAS[name][1] if name in TOKEN_EXTRAS else ""
        if beyond or not counted_as:
            prices[name] = beyond + (getattr(rates, counted_as) if counted_as else 0)
    return prices


def plain_tier(service_tier: str) -> str:
    """The tier by one name: the standard one has many."""
    return "" if service_tier in STANDARD else service_tier


def highest(rates: Sequence[Rates]) -> Rates:
    """For every class and fee the highest of these."""
    fields = (*TOKEN_CLASSES, "per_request", "per_second")
    return Rates(**{name: max(getattr(each, name) for each in rates) for name in fields})


def _with_extras(rates: Rates, table: Mapping[str, int]) -> Rates:
    beyond: dict[str, int] = {}
    for name, (_, counted_as) in TOKEN_EXTRAS.items():
        if counted_as:
            beyond[counted_as] = max(beyond.get(counted_as, 0), table.get(name, 0))
    return replace(rates, **{name: getattr(rates, name) + more for name, more in beyond.items()})


_IN_TIER: Final = ", tier "


def version_in_tier(version: str, tier: str) -> str:
    """The version of a price with the service tier for which it is, as records keep it: to price them again."""
    return f"{version}{_IN_TIER}{tier}" if plain_tier(tier) else version


def tier_in(version: str) -> str:
    """The service tier in such a version, empty for the standard one."""
    return version.rpartition(_IN_TIER)[2] if _IN_TIER in version else ""
