"""Prompt caches: has providers keep the beginnings of prompts, for features that want it, where that pays."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cache.prefix_evidence import Evidence, Seen, pays
from cache.prefixes import Prefix, Prefixes, affinity_of, is_arranged, marked, prefixes_of
from farthing.call import Call, Endpoint
from farthing.catalog import Affinity, CacheWire, Deployment, PromptCache
from farthing.errors import UnpricedModel
from farthing.ports import Clock

if TYPE_CHECKING:
    from gateway.runtime import Generation

_LOG: Final = logging.getLogger(__name__)
_LEAST_TOKENS: Final = 1024
_LONGER: Final = (
    ("opus-4-5", 4096),
    ("opus-4-6", 4096),
    ("opus-4-7", 4096),
    ("haiku-4-5", 4096),
    ("sonnet-4-6", 2048),
    ("haiku-3", 2048),
    ("3-haiku", 2048),
    ("3-5-haiku", 2048),
)
"""The least prefix that is kept, where it is more than usual, by a part of the model's name: the largest of what the
documentation of Anthropic and of others that offer the model say (November 2026). A shorter one with a mark is neither
kept nor billed as kept, and no error."""
_MARKED_MODELS: Final = ("claude", "nova", "qwen")
"""Parts of the names of models that take marks: among others some providers refuse them, or keep them for rent."""
_KEY_DIGITS: Final = 32


class PromptCaches:
    """Changes to calls before they are sent. What traffic has shown is each worker's own, and in memory only.

    `generation` gives the present settings and prices.
    """

    def __init__(self, secret: bytes, clock: Clock, generation: "Callable[[], Generation]") -> None:
        self._secret = secret
        self._clock = clock
        self._generation = generation
        self.errors = 0
        self._seen = Seen()
        self._evidence: dict[tuple[str, str, str], Evidence] = {}

    def changes(self, call: Call, deployment: Deployment) -> dict[str, Any]:
        """Members of the body to be set for this deployment; none where the client says something itself."""
        wire = deployment.provider.quirks.prompt_cache
        if wire is CacheWire.NONE or self._generation().feature(call.tags.feature).prompt_cache is PromptCache.OFF:
            return {}
        if wire is CacheWire.MARKS and not _takes_marks(call, deployment):
            return {}
        try:
            return self._arranged(call, deployment, wire)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._fail_open(error)
            return {}

    def affinity(self, call: Call, affinity: Affinity) -> int | None:
        """A hash that calls share which should go to the same deployment, where its tier has that affinity; None for a
        call that may go anywhere."""
        if affinity is Affinity.AUTO and self._generation().feature(call.tags.feature).prompt_cache is PromptCache.OFF:
            return None
        try:
            return affinity_of(call, _LEAST_TOKENS)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._fail_open(error)
            return None

    def _fail_open(self, error: Exception) -> None:
        self.errors += 1
        if self.errors.bit_count() == 1:
            _LOG.warning("prompt caches: %s, %d failures so far", type(error).__name__, self.errors)

    def _arranged(self, call: Call, deployment: Deployment, wire: CacheWire) -> dict[str, Any]:
        found = prefixes_of(self._secret, call, deployment.id)
        if found is None or is_arranged(call):
            return {}
        return self._marks(call, deployment, found) if wire is CacheWire.MARKS else self._key(call, deployment, found)

    def _marks(self, call: Call, deployment: Deployment, found: Prefixes) -> dict[str, Any]:
        head = self._pays(call, deployment, "head", found.head)
        turns = found.turns != found.head and self._pays(call, deployment, "turns", found.turns)
        if not head and not turns:
            return {}
        return marked(call, head=head, turns=turns, whole_messages=deployment.provider.adapter == "litellm")

    def _key(self, call: Call, deployment: Deployment, found: Prefixes) -> dict[str, Any]:
        """One key for all calls with this head; where the head is too short to be kept, there is none that would
        bring them together."""
        if not self._pays(call, deployment, "head", found.head):
            return {}
        return {"prompt_cache_key": found.head.digest.hex()[:_KEY_DIGITS]}

    def _pays(self, call: Call, deployment: Deployment, kind: str, prefix: Prefix) -> bool:
        """Whether this prefix should be kept, once it has been taken down as one more."""
        if prefix.tokens < least_tokens(deployment.model):
            return False
        evidence = self._evidence.setdefault((call.tags.feature, deployment.id, kind), Evidence())
        evidence.note(again=self._seen.came_again(prefix.digest, prefix.earlier, self._clock.monotonic()))
        try:
            rates = self._generation().pricing.price(deployment, call.received_ns).rates(prefix.tokens)
        except UnpricedModel:
            return False
        return pays(evidence, uncached=rates.input_uncached, read=rates.cache_read, write=rates.cache_write_5m)


def least_tokens(model: str) -> int:
    """Tokens below which the model's provider keeps no prefix."""
    name = model.lower().replace(".", "-")
    return next((least for part, least in _LONGER if part in name), _LEAST_TOKENS)


def _takes_marks(call: Call, deployment: Deployment) -> bool:
    model = deployment.model.lower()
    return call.endpoint is Endpoint.CHAT and any(part in model for part in _MARKED_MODELS)
