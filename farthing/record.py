"""Record: the one row that a request leaves behind, whatever happened to it."""

from enum import StrEnum

from farthing.money import ZERO, Nano
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


class Attempt(Value, frozen=True, kw_only=True):
    """One try at a deployment. `error` is empty for the one that answered; `cost` is what it billed."""

    deployment: str
    status: int
    error: str
    seconds: float
    cost: Nano = ZERO


class Record(Value, frozen=True, kw_only=True):
    """One finished request. Times: `received_ns` wall ns, durations in seconds. `cost` covers every attempt.

    `avoided_cache` is what the stored answer had cost; `avoided_routing` what the reference tier would have cost
    more for the same tokens. `rates` are those of the charge (`Rates.as_dict()` as JSON text), `price_version` the
    price book's, `service_tier` the one it was priced in, empty for the standard one. `stated_cost` is what the
    provider itself said that the answer cost, None where it said nothing; it is kept beside `cost` and never replaces
    it. `error_code` is the code of the error envelope, `refused_by` the budget that had too little left for the call
    or the rest of its stream, with its scope (`monthly|feature=search`).
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
