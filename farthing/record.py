"""Record: the one row that a request leaves behind, whatever happened to it."""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import UNSET, UnsetType

from farthing.money import ZERO, Nano, nano_from_femto
from farthing.tags import Tags
from farthing.usage import NO_USAGE, Usage
from farthing.value import Value


class CacheOutcome(StrEnum):
    """What the caches did for a call; the value is the header `x-farthing-cache`."""

    EXACT = "exact"
    SEMANTIC = "semantic"
    COALESCED = "coalesced"
    MISS = "miss"
    BYPASS = "bypass"
    PARTIAL = "partial"
    """Some inputs of an embedding call were known, the others were sent upstream."""

    @property
    def is_hit(self) -> bool:
        """True where no upstream call was made."""
        return self in (CacheOutcome.EXACT, CacheOutcome.SEMANTIC, CacheOutcome.COALESCED)


class Outcome(StrEnum):
    """How a request ended; also the metric label `outcome`."""

    SUCCESS = "success"
    HIT = "hit"
    REFUSED = "refused"
    """By a budget, a missing price or a policy: nothing was sent upstream."""
    REJECTED = "rejected"
    """Bad input or no valid key: nothing was sent upstream."""
    UPSTREAM_ERROR = "upstream_error"
    ABORTED = "aborted"
    """The client hung up before the end."""
    GATEWAY_ERROR = "gateway_error"
    LOST = "lost"
    """The gateway was killed during the call; booked at recovery as an estimate."""


class Extra(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Something that a charge holds beside its tokens at its `rates`. `rate` is femto-dollars an item: of tokens that
    are in a class already, what they cost beyond it (less than nothing where they are cheaper).

    `name` is one of `ledger.price` (`web_searches`, `output_image`), or, where one of several parts of an answer is
    told, a token class. `part` numbers the parts, 0 being that whose rates the charge has; `model` made it, empty for
    the model that was asked.
    """

    name: str
    quantity: int
    rate: int
    model: str = ""
    part: int = 0


def extras_cost(extras: Iterable[Extra]) -> Nano:
    """Nano-dollars of all together, rounded half-even once; negative where they are cheaper than their classes."""
    return nano_from_femto(sum(extra.quantity * extra.rate for extra in extras))


class Billed(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt said that it used, by the rates of then: the cost of an attempt that is not the row's own, which
    the row's usage, rates and extras do not tell."""

    provider: str
    model: str
    usage: Usage
    rates: str
    price_version: str
    service_tier: str = ""
    extras: tuple[Extra, ...] = ()


class Attempt(Value, frozen=True, kw_only=True):
    """One try at a deployment. `error` is empty for the one that answered; `cost` is what it billed, `billed` why,
    where it failed and another followed."""

    deployment: str
    status: int
    error: str
    seconds: float
    cost: Nano = ZERO
    billed: Billed | UnsetType = UNSET
    """Not even written where there is nothing: it is so for nearly every call."""


class Record(Value, frozen=True, kw_only=True):
    """One finished request. Times: `received_ns` wall ns, durations in seconds. `cost` covers every attempt.

    `avoided_cache` is what the stored answer had cost; `avoided_routing` what the reference tier would have cost
    more for the same tokens. `rates` are those of the charge (`Rates.as_dict()` as JSON text), `extras` what it holds
    beside its tokens: with `usage` they give what the attempt cost that answered. `price_version` is the price book's,
    `service_tier` the one it was priced in, empty for the standard one. `stated_cost` is what the provider itself said
    that the answer cost, None where it said nothing; it is kept beside `cost` and never replaces it. `error_code` is
    the code of the error envelope, `refused_by` the budget that had too little left for the call or the rest of its
    stream, with its scope (`monthly|feature=search`). `inputs` are the texts of an embedding call (0 for any other),
    `inputs_sent` those of them that went upstream: the others were known, or asked for twice.
    """

    id: str
    tags: Tags
    endpoint: str
    stream: bool
    received_ns: int
    outcome: Outcome
    status: int
    model_requested: str = ""
    model_served: str = ""
    provider: str = ""
    deployment: str = ""
    tier: str = ""
    reference_tier: str = ""
    policy: str = ""
    route_reason: str = ""
    task_source: str = ""
    cache: CacheOutcome = CacheOutcome.BYPASS
    usage: Usage = NO_USAGE
    cost: Nano = ZERO
    avoided_cache: Nano = ZERO
    avoided_routing: Nano = ZERO
    rates: str = "{}"
    price_version: str = ""
    seconds: float = 0.0
    first_byte_seconds: float | None = None
    error_code: str = ""
    finish_reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    service_tier: str = ""
    stated_cost: Nano | None = None
    refused_by: str = ""
    extras: tuple[Extra, ...] = ()
    inputs: int = 0
    inputs_sent: int = 0
