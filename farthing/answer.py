"""Answers: what the caches keep, what they find, and the value in which one travels."""

from dataclasses import dataclass

from farthing.money import Nano
from farthing.record import CacheOutcome
from farthing.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """A complete answer as a cache keeps it: `body` is the plain (not streamed) JSON of the endpoint.

    `cost` is what it cost to make, nano-dollars; `stored_ns` wall ns.
    """

    body: bytes
    model: str
    provider: str
    tier: str
    usage: Usage
    cost: Nano
    stored_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An answer found. `score` is the cosine of a semantic hit (trusted callers only), None for an exact one."""

    kind: CacheOutcome
    answer: StoredAnswer
    score: float | None = None
