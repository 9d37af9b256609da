"""Usage: the token classes of one answer, read from the many shapes in which providers tell them.

A comment beside a field names who sends it.
"""

from collections.abc import Mapping
from typing import Any, Final

from farthing.usage import Usage, UsageSource

_ABSURD: Final = 10**9
"""No answer has so many tokens; keeps a hostile figure out of 64-bit columns."""
_MOST_CHOICES: Final = 128
"""OpenAI's bound on `n`: output may pass the window, by so many choices at most."""


_NONE: Final[dict[str, Any]] = {}


class _AbsurdError(ValueError):
    pass


def usage_of(answer: Mapping[str, Any], *, context_window: int | None = None) -> Usage | None:
    """The usage inside one parsed OpenAI-shaped object: a whole answer, a stream chunk or a Responses event.

    None where there is none, or where it cannot be true: negative, not whole, no tokens at all, or more input than
    the window of `context_window` tokens. Of a stream, the last that is not None counts; they are never summed.
    """
    figures = _find(answer)
    if figures is None:
        return None
    try:
        usage = _read(figures)
    except _AbsurdError:
        return None
    return usage if _is_plausible(usage, context_window) else None


def estimate(*, input_tokens: int, output_tokens: int) -> Usage:
    """A usage counted by us, because the provider gave none."""
    return Usage(input_uncached=input_tokens, output=output_tokens, source=UsageSource.ESTIMATED)


def _find(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    for holder in (answer, answer.get("x_groq"), answer.get("response")):
        if holder and isinstance(holder, Mapping) and isinstance(figures := holder.get("usage"), dict):
            return figures
    return None


def _read(figures: dict[str, Any]) -> Usage:
    """Disjoint classes; input figures include cached and written tokens in every OpenAI shape."""
    details = _details(figures, "prompt_tokens_details", "input_tokens_details")
    whole = _input(figures)
    cache_read = _cache_read(figures, details)
    written, written_1h = _cache_written(figures, details)
    rest = whole - cache_read - written
    if rest < 0:
        raise _AbsurdError
    # Cached audio is in both counts: it is a cached token, and none is counted twice.
    audio = min(_count(details, "audio_tokens"), rest)
    image = min(_count(details, "image_tokens"), rest - audio)
    output, reasoning, output_audio = _output_classes(figures, whole)
    return Usage(
        input_uncached=rest - audio - image,
        cache_read=cache_read,
        cache_write_5m=written - written_1h,
        cache_write_1h=written_1h,
        output=output,
        reasoning=reasoning,
        input_audio=audio,
        output_audio=output_audio,
        input_image=image,
    )


def _input(figures: dict[str, Any]) -> int:
    if figures.get("prompt_tokens") is not None:
        return _count(figures, "prompt_tokens")
    if figures.get("input_tokens") is not None:  # Responses
        return _count(figures, "input_tokens")
    raise _AbsurdError


def _cache_read(figures: dict[str, Any], details: dict[str, Any]) -> int:
    return (
        _count(details, "cached_tokens")
        or _count(figures, "prompt_cache_hit_tokens")  # DeepSeek
        or _count(figures, "cached_tokens")  # Together, Moonshot
        or _count(figures, "cache_read_input_tokens")  # litellm, for Anthropic and Bedrock
    )


def _cache_written(figures: dict[str, Any], details: dict[str, Any]) -> tuple[int, int]:
    """Tokens written to the provider's cache, and how many of them for an hour."""
    written = (
        _count(details, "cache_write_tokens")  # OpenAI, OpenRouter
        or _count(details, "cache_creation_tokens")  # litellm
        or _count(figures, "cache_creation_input_tokens")  # litellm
    )
    by_age = _details(details, "cache_creation_token_details", "")  # litellm
    return written, min(_count(by_age, "ephemeral_1h_input_tokens"), written)


def _output_classes(figures: dict[str, Any], input_: int) -> tuple[int, int, int]:
    """Output, reasoning and audio. xAI counts reasoning outside completion_tokens but inside total_tokens; others
    inside both. OpenRouter may tell more reasoning than output: the total decides, and without one the dearer
    reading does."""
    details = _details(figures, "completion_tokens_details", "output_tokens_details")
    # Azure's DeepSeek tells the reasoning at the top level.
    reasoning = _count(details, "reasoning_tokens") or _count(figures, "reasoning_tokens")
    whole = _count(figures, "completion_tokens") or _count(figures, "output_tokens")
    if figures.get("total_tokens") is not None:
        whole = max(whole, _count(figures, "total_tokens") - input_)
    elif reasoning > whole:
        whole += reasoning
    reasoning = min(reasoning, whole)
    audio = min(_count(details, "audio_tokens"), whole - reasoning)
    return whole - reasoning - audio, reasoning, audio


def _details(figures: dict[str, Any], name: str, other_name: str) -> dict[str, Any]:
    """The first of these members that is an object; null and absent are the same to providers."""
    found = figures.get(name) or figures.get(other_name)
    return found if isinstance(found, dict) else _NONE


def _count(figures: dict[str, Any], name: str) -> int:
    """A figure, 0 where it is absent. Raises _AbsurdError for anything but a whole count."""
    value = figures.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < _ABSURD:
        raise _AbsurdError
    return value


def _is_plausible(usage: Usage, context_window: int | None) -> bool:
    if usage.input_total == 0 and usage.output_total == 0:
        return False
    if context_window is None:
        return True
    return usage.input_total <= context_window and usage.output_total <= context_window * _MOST_CHOICES
