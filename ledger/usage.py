"""Usage: the token classes of one answer, read from what its provider sends.

The shapes of the providers stand in `ledger.shapes` and the modules beside it.
"""

from collections.abc import Mapping
from typing import Any, Final

from farthing.tags import is_tag
from farthing.usage import Usage, UsageSource
from farthing.value import changed
from ledger.shapes import AbsurdError, find_openai, hosted_tool_calls, read_openai, stated_cost
from ledger.shapes_anthropic import EVENTS, find_anthropic, overlay, read_anthropic, tier_of
from ledger.shapes_gemini import find_gemini, gemini_searches, gemini_tier, read_gemini
from ledger.statement import Portion, Statement

_MOST_CHOICES: Final = 128
"""OpenAI's bound on `n`: output may pass the window, by so many choices at most."""


def estimate(*, input_tokens: int, output_tokens: int) -> Usage:
    """A usage counted by us, because the provider gave none."""
    return Usage(input_uncached=input_tokens, output=output_tokens, source=UsageSource.ESTIMATED)


class UsageReader:
    """Reads the objects of one answer, in any shape that a provider sends: OpenAI chat, completions, embeddings and
    Responses with their many variants, Anthropic Messages, Gemini. A plain answer is a stream of one object.

    `statement` is what the provider has said so far, None before its first usage that can be true. What cannot be
    true changes nothing: negative, not whole, no tokens at all, or more input than the window of `context_window`
    tokens. Of a stream the last usage that can be true counts; they are never summed.
    """

    __slots__ = ("_anthropic", "_searches", "_stated", "_tier", "_window")

    def __init__(self, *, context_window: int | None = None) -> None:
        self._window = context_window
        self._tier = ""
        self._stated: Statement | None = None
        self._anthropic: dict[str, Any] = {}
        self._searches = 0

    @property
    def statement(self) -> Statement | None:
        """The provider's latest words, with the tier that it named last, before or after them."""
        stated = self._stated
        if stated is not None and stated.service_tier != self._tier:
            stated = self._stated = changed(stated, service_tier=self._tier)
        return stated

    @property
    def usage(self) -> Usage | None:
        """The tokens of the statement, every portion together."""
        return None if self._stated is None else self._stated.usage

    @property
    def service_tier(self) -> str:
        """The tier that the provider named last, empty where it named none; known before any usage is."""
        return self._tier

    def take(self, event: Mapping[str, Any]) -> bool:
        """Read one parsed object; True where it brought a usage that counts from now on."""
        if event.get("type") in EVENTS:
            return self._take_anthropic(event)
        if "usageMetadata" in event:
            return self._take_gemini(event)
        return self._take_openai(event)

    def _take_openai(self, event: Mapping[str, Any]) -> bool:
        response = event.get("response")
        self._name_tier((response if type(response) is dict else event).get("service_tier"))
        figures = find_openai(event)
        if figures is None:
            return False

        self._name_tier(tier_of(figures))  # of an Anthropic model behind this shape
        try:
            portion = read_openai(figures)
        except AbsurdError:
            return False
        if calls := hosted_tool_calls(event):
            portion = changed(portion, extras=(*portion.extras, *calls))
        return self._state((portion,), figures)

    def _take_anthropic(self, event: Mapping[str, Any]) -> bool:
        figures = find_anthropic(event)
        if figures is None:
            return False
        merged = overlay(self._anthropic, figures)
        try:
            portions = read_anthropic(merged)
        except AbsurdError:
            return False
        if not self._state(portions, merged):
            return False
        self._anthropic = merged
        self._name_tier(tier_of(merged))
        return True

    def _take_gemini(self, event: Mapping[str, Any]) -> bool:
        figures = find_gemini(event)
        if figures is None:
            return False
        self._name_tier(gemini_tier(figures))
        self._searches = max(self._searches, gemini_searches(event))
        try:
            portion = read_gemini(figures, self._searches)
        except AbsurdError:
            return False
        return self._state((portion,), figures)

    def _name_tier(self, tier: object) -> None:
        # Of an answer, `auto` is an echo of the request: what the provider chose is told later.
        if tier and tier not in (self._tier, "auto") and type(tier) is str and is_tag(tier):
            self._tier = tier

    def _state(self, portions: tuple[Portion, ...], figures: Mapping[str, Any]) -> bool:
        """Keep what can be true. The window holds for each portion: each was a call of its own."""
        if self._window is not None and not all(_fits(portion.usage, self._window) for portion in portions):
            return False
        statement = Statement(portions=portions, service_tier=self._tier, stated_cost=stated_cost(figures))
        if _is_empty(statement.usage):
            return False
        self._stated = statement
        return True


def _is_empty(usage: Usage) -> bool:
    """No call is."""
    return usage.input_total == 0 and usage.output_total == 0


def _fits(usage: Usage, context_window: int) -> bool:
    return usage.input_total <= context_window and usage.output_total <= context_window * _MOST_CHOICES
