"""Pacing: a stored answer as a stream that comes as it came from its provider."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from farthing.answer import StoredAnswer

MOST_S: Final = 60.0
"""No replay takes longer, whatever its provider took."""
MOST_PIECES: Final = 400
_CHARACTERS: Final = 4
"""Of a piece, where the provider told no output: about a token."""


def pieces_of(answer: StoredAnswer) -> int:
    """In how many pieces the text of an answer is given: as many as it has tokens, within bounds."""
    return min(answer.usage.output_total or len(answer.body) // _CHARACTERS, MOST_PIECES) or 1


class PacedEnding:
    """Frames that leave one after the other over `seconds`. Its record is written already: nothing depends on it."""

    def __init__(self, frames: Sequence[bytes], seconds: float) -> None:
        self._frames = frames
        self._pause = min(seconds, MOST_S) / len(frames)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The client's bytes."""
        for frame in self._frames[:-1]:
            yield frame
            await asyncio.sleep(self._pause)
        yield self._frames[-1]

    async def close(self, error: BaseException | None) -> None:
        """Nothing is open."""
