"""Hot hits: what a request was understood as whose answer the exact cache gave, so that the same bytes from the same
caller are not read again for as long as that answer is held."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from cache.epochs import Epochs
from cache.exact import ExactCache
from farthing.answer import StoredAnswer
from farthing.call import Call, Endpoint
from farthing.catalog import Replay, VirtualKey
from farthing.tags import Tags
from farthing.value import changed
from gateway.request import NOT_ASKED, Request

if TYPE_CHECKING:
    from gateway.runtime import Generation

MOST: Final = 1024
LONGEST_BYTES: Final = 16_384
"""Of a body, so that all of them are 16 MiB at most."""
_Place = tuple[Endpoint, bytes, bytes, str, str, str, str]


class Understood(NamedTuple):
    """All that the pipeline had found out about a request when it met its answer. `stamp` is that of the purges which
    name its `cache_tags` (`cache.epochs`); `tags` are those of the record. The call's body is left out."""

    key: VirtualKey
    call: Call
    tags: Tags
    task_source: str
    reference_tier: str
    replay: Replay
    exact_key: bytes
    cache_tags: tuple[str, ...]
    stamp: str

    def again(self, request: Request) -> Call:
        """The call of a later request with the same bytes."""
        return changed(self.call, id=request.id, received_ns=request.received_ns, started=request.started)


class HotHits:
    """The last MOST of them, of one generation of the configuration.

    A place is all that a request's meaning depends on, byte for byte: the caller's secret, the tags, the body. Who asks
    the caches for something special is never remembered, and what was purged or has left the memory is forgotten when
    it is asked for.
    """

    def __init__(self, exact: ExactCache, epochs: Epochs) -> None:
        self._exact, self._epochs = exact, epochs
        self._generation: Generation | None = None
        self._known: OrderedDict[_Place, Understood] = OrderedDict()

    def find(self, request: Request, generation: "Generation") -> tuple[Understood, StoredAnswer] | None:
        """What such a request means, and the live answer that this process holds for it."""
        if generation is not self._generation or request.cache_control is not NOT_ASKED:
            return None
        place = _place(request)
        known = self._known.get(place)
        if known is None:
            return None
        answer = self._exact.held(known.exact_key) if self._holds(known, request) else None
        if answer is None:
            del self._known[place]
            return None
        self._known.move_to_end(place)
        return known, answer

    def _holds(self, known: Understood, request: Request) -> bool:
        """Nothing has happened since that gives the request another meaning, or its answer another key."""
        expires_ns, tags = known.key.expires_ns, known.tags
        if expires_ns is not None and expires_ns <= request.received_ns:
            return False
        return self._epochs.stamp(tags.tenant, tags.feature, known.cache_tags) == known.stamp

    def remember(self, request: Request, generation: "Generation", known: Understood) -> None:
        """The exact cache has answered this request."""
        if request.cache_control is not NOT_ASKED or len(request.body) > LONGEST_BYTES:
            return
        if generation is not self._generation:
            self._known.clear()
            self._generation = generation
        self._known[_place(request)] = known._replace(call=changed(known.call, raw=b"", body={}))
        if len(self._known) > MOST:
            self._known.popitem(last=False)


def _place(request: Request) -> _Place:
    said = request.feature, request.task, request.run, request.environment
    return request.endpoint, request.secret, request.body, *said
