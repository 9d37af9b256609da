"""Askers that answer graders without any model."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evals.asked import Asked, Embedded
from farthing.money import Nano

Reply = Callable[[str, int], str]
"""From the last message and the attempt to what the model says."""


@dataclass
class FakeAsker:
    """Says what `reply` says, one nano-dollar a question, and remembers what it was asked."""

    reply: Reply = lambda content, attempt: "pass"
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    hangs: bool = False

    async def ask(self, model: str, messages: Sequence[Mapping[str, str]], *, max_tokens: int, attempt: int) -> Asked:
        content = messages[-1]["content"]
        self.asked.append((model, content, attempt))
        if self.hangs:
            await asyncio.Event().wait()
        return Asked(text=self.reply(content, attempt), cost=Nano(1))

    async def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        self.asked.append((model, "|".join(texts), 0))
        return Embedded(vectors=[self.vectors[text] for text in texts if text in self.vectors], cost=Nano(1))
