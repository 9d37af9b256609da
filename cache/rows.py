"""Rows of the semantic cache: what its stores keep, and what each of them must be able to do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cache.calibration import Evidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RowsAway(ConnectionError):
    """The server that keeps the rows did not answer lately, so it was not asked."""


@dataclass(frozen=True, slots=True)
class SemanticRow:
    """One stored question; `answer` is a packed entry (`cache.entry`). It serves its `writer` (the id of a virtual
    key) alone until it is `admitted`."""

    id: int
    prompt: str
    answer: bytes
    writer: str
    admitted: bool

    def serves(self, principal: str) -> bool:
        """True if it may be served to this key."""
        return self.admitted or self.writer == principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A live row near a vector."""

    row: SemanticRow
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One graded pair: the kept answer of row `entry` and a fresh one to a question that was near it.

    `evidence` spoke for it. `same` is None where the answers could not be compared. `weight` is one over the share of
    such pairs that is graded. `served`: the kept answer had been served. `would`: it was, or would have been but for
    admission and breaker. The fresh answer is `kept` as that row, None where it is not kept.
    """

    entry: int
    evidence: Evidence
    same: bool | None
    weight: float
    served: bool
    would: bool
    kept: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRow:
    """What had been learned in a domain up to the sample `watermark`; `hit_share` of its requests were hits."""

    feature: str
    state: bytes
    watermark: int
    hit_share: float
    calibrated: bool
    stopped: bool


class SemanticRows(Protocol):
    """Questions with their answers: the truth that an index only finds. Blocking, for one thread at a time."""

    def insert(self, scope: bytes, prompt: str, vector: bytes, answer: bytes, *, writer: str, expires_ns: int) -> int:
        """The id of the new row, higher than any before it."""

    def alive(self, scope: bytes, ids: Iterable[int], now_ns: int) -> dict[int, SemanticRow]:
        """Those of the rows that exist in this scope and have not expired."""

    def admit(self, row_id: int) -> None:
        """Let it serve everybody in its scope."""

    def expired(self, now_ns: int, limit: int) -> list[tuple[int, bytes]]:
        """Ids and scopes of rows whose time is over, of all scopes."""

    def beyond(self, scope: bytes, keep: int) -> list[int]:
        """Ids of all but the newest `keep` rows of a scope."""

    def delete(self, ids: Sequence[int]) -> None:
        """Forget rows; unknown ids are ignored."""

    def close(self) -> None:
        """Let go of the store."""


class Nearby(Protocol):
    """Finds the rows near a vector. Blocking, for one thread at a time; only `ready` may be asked in any."""

    def ready(self) -> bool:
        """False where it would find nothing now, for what keeps the rows is away."""

    def is_empty(self, scope: bytes, now_ns: int) -> bool:
        """True where the scope has no live rows, so that nothing can be near. False may also mean that it had some
        lately."""

    def near(
        self, scope: bytes, vector: "NDArray[np.float32]", *, k: int, floor: float, now_ns: int
    ) -> list[Neighbour]:
        """Of the live rows of that scope at most the `k` nearest to a unit vector, none with a cosine below `floor`,
        nearest first."""

    def excess(self, scope: bytes, keep: int, now_ns: int) -> list[int]:
        """Ids of the oldest rows of a scope that has more than `keep`: so many that it has some room again. May look
        only now and then."""

    def forget(self, scope: bytes, ids: Sequence[int]) -> None:
        """Those rows are gone."""

    def close(self) -> None:
        """Nobody asks any more."""


class EvidenceRows(Protocol):
    """What was graded and what was learned from it. Blocking, for one thread at a time."""

    def keep(self, domain: str, sample: Sample) -> None:
        """Add a sample; it has a higher id than any before it."""

    def samples(self, domain: str, than: int, limit: int) -> list[tuple[int, Sample]]:
        """Of the samples above an id the newest `limit`, in the order of their ids."""

    def forget(self, domain: str, keep: int) -> None:
        """Delete all but the newest `keep` samples."""

    def load(self, domain: str) -> DomainRow | None:
        """What was saved last."""

    def save(self, domain: str, row: DomainRow) -> None:
        """Keep it in place of what was saved before, by whichever process."""

    def tally(self, feature: str, sums: Mapping[str, float]) -> None:
        """Add to the sums of a feature."""


class SemanticStore(SemanticRows, EvidenceRows, Protocol):
    """Both in one place: what is learned lives as long as what it is about."""
