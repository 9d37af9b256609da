"""Answers: what a model gave to an item, as graders see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farthing.money import ZERO, Nano


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedAnswer:
    """One answer to be graded. `tool_calls` as the API gave them.

    `cost` and `latency_s` are of the call that made it, also where a cache has it now; `latency_s` is None where
    nobody knows. `reference_text` is what the reference answered to the same item, None where it was not asked.
    """

    text: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str = ""
    cost: Nano = ZERO
    latency_s: float | None = None
    reference_text: str | None = None
