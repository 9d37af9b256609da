"""Allowances: the output that the hold of a running stream covers, and more of it as the stream goes on."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from farthing.money import Nano

UNSEEN_TOKENS: Final = 64
"""Tokens of one choice that no byte of the stream may stand for (ends of turns, frames of tool calls), and about what
one event may bring before it can be looked at."""
LUMP_BYTES: Final = 1024
"""An event with more output than this was not sent as it was made."""
_NAMES_ONLY: Final = frozenset({"role", "type", "index", "logprobs"})


class Purse(Protocol):
    """Where a stream's money is set aside (a Page)."""

    async def extend(self, amount: Nano) -> None:
        """Set so much more aside; raises MoneyError."""


class Allowance:
    """Sees to it that a stream is paid for before it is passed on.

    A token of a byte-level encoding stands for at least one byte, so the bytes of output that have come bound the
    tokens that are billed. `tokens` are held of the `whole` that the call may have; `worst_case` gives nano-dollars
    of the call with so many output tokens.
    """

    def __init__(
        self,
        purse: Purse,
        worst_case: Callable[[int], Nano],
        *,
        tokens: int,
        whole: int,
        choices: int,
        on_lump: Callable[[], None],
    ) -> None:
        self._purse, self._worst_case = purse, worst_case
        self.tokens, self._whole, self._step = tokens, whole, tokens
        self._seen = choices * UNSEEN_TOKENS
        self._on_lump = on_lump

    def feed(self, event: Mapping[str, Any]) -> None:
        """Count the output of one event."""
        size = output_bytes(event)
        self._seen += size
        if size > LUMP_BYTES:
            self._on_lump()

    async def cover(self) -> None:
        """Hold more where the stream has come to the end of its hold. Raises MoneyError where there is no more."""
        while self._seen > self.tokens < self._whole:
            await self._extend(min(self.tokens + self._step, self._whole))

    async def cover_whole(self) -> None:
        """Hold all that the call may have: its answer is no stream, and cannot be stopped. Raises MoneyError."""
        if self.tokens < self._whole:
            await self._extend(self._whole)

    async def _extend(self, tokens: int) -> None:
        await self._purse.extend(Nano(self._worst_case(tokens) - self._worst_case(self.tokens)))
        self.tokens = tokens


def output_bytes(event: Mapping[str, Any]) -> int:
    """No fewer bytes than the output in one event of a stream has in UTF-8."""
    kind = event.get("type")
    if type(kind) is str:  # Responses
        return _size(event.get("delta")) if kind.endswith(".delta") else 0
    choices = event.get("choices")
    return sum(_of_choice(choice) for choice in choices) if type(choices) is list else 0


def _of_choice(choice: Any) -> int:
    return _size(choice.get("delta")) + _size(choice.get("text")) if type(choice) is dict else 0


def _size(node: Any) -> int:
    """Every text below, names and ids of tool calls included: they are output too, or stand for what is."""
    if type(node) is str:
        return len(node) if node.isascii() else len(node.encode("utf-8", "surrogatepass"))
    if type(node) is dict:
        return sum(_size(value) for name, value in node.items() if name not in _NAMES_ONLY)
    return sum(map(_size, node)) if type(node) is list else 0
