"""Ports: what the rooms need of the world, each stated as a guarantee; at most five methods."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from farthing.catalog import Deployment
from farthing.hold import Hold, Intent
from farthing.money import Nano
from farthing.record import Record
from farthing.routing import Choice, RouteQuestion
from farthing.tags import Tags

if TYPE_CHECKING:
    from asyncio import Future

    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]
    """Shape (texts, dimension), rows of unit length."""


class Clock(Protocol):
    """Time: the only two clocks that anybody reads."""

    def wall_ns(self) -> int:
        """UTC, nanoseconds since 1970; may jump."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""


class Ledger(Protocol):
    """Durable books: what was promised here has been committed when the awaited result arrives."""

    def reserve(self, intent: Intent) -> Awaitable[Hold]:
        """Set money aside in every account of the intent, or in none of them.

        One atomic step with the check: whatever the concurrency, spent + held never passes a limit.
        Raises BudgetExceeded (nothing held) or LedgerUnavailable (nothing held).
        """

    def extend(self, hold: Hold, amount: Nano) -> Awaitable[Hold]:
        """Set `amount` more aside for an open hold in every account of it, or in none: the same atomic step as
        `reserve`, against the limits of the accounts given with the hold. The result is to be used from then on; a
        settlement gives all of it back whichever it is given.

        Raises BudgetExceeded (the hold stays as it was) or LedgerUnavailable (the same, or it is gone).
        """

    def settle(self, hold: Hold | None, record: Record) -> "Future[bool]":
        """Write the record; with a hold, replace it by `record.cost` in its accounts, in the same transaction.

        The write is queued before this returns, so it happens even if the awaiting task is cancelled; the result
        itself cannot be cancelled: a cancelled caller is told so only once the write is done. A second settlement of
        one hold or record id changes nothing. True where the record was written. Raises LedgerUnavailable, and where
        there is money in it goes on trying until the ledger is closed.
        """

    async def close(self) -> None:
        """Commit what is queued, then let go."""


class Store(Protocol):
    """Bytes under a key until they expire; losing them costs money, never correctness."""

    async def read(self, keys: Sequence[bytes], now_ns: int) -> Mapping[bytes, bytes]:
        """The live ones of these values, by key; in one trip where the store is elsewhere."""

    async def put(self, key: bytes, value: bytes, *, scope: bytes, expires_ns: int) -> None:
        """Keep a value; may evict others to stay under the byte cap."""

    async def delete(self, key: bytes) -> None:
        """Forget a value."""

    async def size(self) -> tuple[int, int]:
        """How many values are kept, expired ones included, and their bytes."""

    async def close(self) -> None:
        """Let go."""


class Payer(NamedTuple):
    """For whose call a text is embedded; `spent` is told what that cost, nano-dollars, once it is on the books. `waits`
    is False where nobody holds up a call for it."""

    tags: Tags
    spent: Callable[[Nano], None]
    waits: bool = True


class Embedder(Protocol):
    """Texts to unit vectors, off the event loop."""

    @property
    def version(self) -> str:
        """Name and revision; part of every semantic scope."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    async def embed(self, texts: Sequence[str], payer: Payer | None = None, /) -> "Vectors":
        """Shape (len(texts), dimension), float32. Raises EmbedderBusy where the queue is full, EmbedderAway where
        nobody can embed now: treat both as a miss. `payer` is needed where embedding costs money."""

    async def aclose(self) -> None:
        """Finish the running batch and let go."""


class VectorIndex(Protocol):
    """Nearest neighbours within one scope; rebuildable, never the truth."""

    def add(self, scope: bytes, ids: Sequence[int], vectors: "Vectors") -> None:
        """Put vectors under their row ids."""

    def search(self, scope: bytes, vector: "Vectors", k: int) -> list[tuple[int, float]]:
        """At most k (row id, cosine) of that scope only, best first."""

    def remove(self, scope: bytes, ids: Sequence[int]) -> None:
        """Forget row ids; unknown ones are ignored."""


class UpstreamResponse(Protocol):
    """An answer that has begun. Whoever got it closes it."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names."""

    async def read(self) -> bytes:
        """The whole body. Raises UpstreamTimeout or UpstreamBroken."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, unbuffered. Raises UpstreamTimeout or UpstreamBroken."""

    async def close(self) -> None:
        """Stop the upstream if it is still sending."""


class Upstream(Protocol):
    """One provider wire: sends a ready body to a deployment and returns when the response head is there."""

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> UpstreamResponse:
        """POST to the deployment's `operation` (path below the base URL, e.g. `chat/completions`).

        Raises UpstreamUnreachable (nothing was sent) or UpstreamTimeout.
        """

    async def close(self) -> None:
        """Close every connection."""


class Policy(Protocol):
    """A pure rule that picks a tier."""

    def choose(self, question: RouteQuestion) -> Choice:
        """The tier and the sentence that explains it."""
