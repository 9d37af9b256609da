"""Findings: what goes into a lookup by meaning, and what comes out of it."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cache.calibration import Evidence
from cache.deciding import Rule
from farthing.answer import Hit
from farthing.call import Call
from farthing.money import Nano


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticRules:
    """`floor`: the least cosine of a candidate. `max_wrong`: wrong answers, as a share of all requests looked up.
    `shadow_share`: of the hits so many are to be graded, on average. `teaches`: False where nothing may be learned from
    who asks, so that the lookup is not counted and its hit not graded."""

    floor: float
    max_wrong: float
    shadow_share: float = 0.05
    teaches: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """The kept question that was nearest in meaning to one that was asked, for whoever gets a fresh answer to it.

    `share`: of hits like this one so many should be graded.
    """

    call: Call
    scope: bytes
    text: str
    rules: SemanticRules
    row_id: int
    evidence: Evidence
    rule: Rule
    would: bool
    share: float


class Finding(NamedTuple):
    """What a lookup found: an answer to serve, and what a fresh one may be compared with."""

    hit: Hit | None
    near: Near | None


NOTHING: Final = Finding(None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers to compare: the kept one (a) and a fresh one (b). `call` is that of b."""

    call: Call
    question_a: str
    answer_a: str
    question_b: str
    answer_b: str


class Ruling(NamedTuple):
    """Whether two answers say the same, None where that stays open; and what it cost to know, nano-dollars."""

    same: bool | None
    cost: Nano


Referee = Callable[[Pair], Awaitable[Ruling]]
"""Asked where the local grader cannot tell."""


@dataclass(slots=True)
class SemanticCounts:
    """What happened in this process. `below`: nothing near enough; `empty`: nothing kept in the scope; `late`: the
    deadline passed; `busy`: too many texts waited for the embedder; `away`: nobody could embed, or what keeps the rows
    did not answer lately; `errors`: any failure."""

    finds: int = 0
    hits: int = 0
    below: int = 0
    empty: int = 0
    stored: int = 0
    late: int = 0
    busy: int = 0
    away: int = 0
    errors: int = 0
    ineligible: Counter[str] = field(default_factory=Counter)
    """By the reason of `eligible`."""
    vetoes: Counter[str] = field(default_factory=Counter)
    """By the name of the guard."""
