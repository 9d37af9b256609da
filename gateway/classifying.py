"""Classifying: guesses at tasks in a thread of their own, with a bound on how many wait and for how long."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from router_policies.tasks import Classifier, Guess

RESULTS: Final = ("sure", "unsure", "busy", "late", "failed")
MOST_WAITING: Final = 32
KEPT_TIMES: Final = 1_000


class Classifying:
    """Of one event loop. `counts` are calls by what came of them: `sure`, `unsure`; without a guess `busy`, `late`,
    `failed`."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._waiting = 0
        self.counts: Counter[str] = Counter()
        self._microseconds: deque[int] = deque(maxlen=KEPT_TIMES)

    async def guess(self, classifier: Classifier, text: str, deadline_s: float) -> Guess | None:
        """What the classifier makes of a text; None where that takes too long, or too many are waiting already."""
        if self._waiting >= MOST_WAITING:
            self.counts["busy"] += 1
            return None
        loop = asyncio.get_running_loop()
        began = loop.time()
        future = loop.run_in_executor(self._executor(), classifier.guess, text)
        self._waiting += 1
        future.add_done_callback(self._ended)
        await asyncio.wait((future,), timeout=deadline_s)
        self._microseconds.append(int((loop.time() - began) * 1e6))
        if not future.done():
            self.counts["late"] += 1
            return None
        if future.exception() is not None:
            self.counts["failed"] += 1
            return None
        guess = future.result()
        self.counts["sure" if classifier.is_sure(guess) else "unsure"] += 1
        return guess

    async def guesses(self, classifier: Classifier, texts: Sequence[str]) -> list[Guess]:
        """What it makes of several texts that nobody waits for."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor(), lambda: [classifier.guess(text) for text in texts])

    def quantile(self, share: float) -> int | None:
        """Microseconds that this share of the last thousand calls waited at most; None where none did."""
        waits = sorted(self._microseconds.copy())
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else None

    def close(self) -> None:
        """Let the thread end with the guess that it is at."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="tasks")
        return self._pool

    def _ended(self, future: "asyncio.Future[Guess]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # whoever still waits for it is told; where nobody does, it is not news
