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


def _find(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for holder in (answer, answer.get("x_groq"), answer.get("response")):
        if isinstance(holder, Mapping) and isinstance(figures := holder.get("usage"), Mapping):
            return figures
    return None


def _read(figures: Mapping[str, Any]) -> Usage:
    input_ = _first(figures, "prompt_tokens", "input_tokens")
    output = _first(figures, "completion_tokens", "output_tokens") or 0
    if input_ is None:
        raise _AbsurdError
    input_details = _details(figures, "prompt_tokens_details", "input_tokens_details")
    output_details = _details(figures, "completion_tokens_details", "output_tokens_details")
    # Azure's DeepSeek tells the reasoning at the top level.
    reasoning = _first(output_details, "reasoning_tokens") or _first(figures, "reasoning_tokens") or 0
    total = _first(figures, "total_tokens")
    whole = _all_output(output, None if total is None else total - input_, reasoning)
    return Usage(
        **_input_classes(figures, input_, input_details),
        **_output_classes(whole, output_details, min(reasoning, whole)),
    )


def _all_output(output: int, remainder: int | None, reasoning: int) -> int:
    """xAI counts reasoning outside completion_tokens but inside total_tokens; others inside both. OpenRouter may
    tell more reasoning than output: the total decides, and without one the dearer reading does."""
    if remainder is not None:
        return max(output, remainder)
    return output if output >= reasoning else output + reasoning


def _input_classes(figures: Mapping[str, Any], whole: int, details: Mapping[str, Any]) -> dict[str, Any]:
    """Disjoint classes of `whole`, which includes the cached and written tokens in every OpenAI shape."""
    cache_read = (
        _first(details, "cached_tokens")
        or _first(figures, "prompt_cache_hit_tokens")  # DeepSeek
        or _first(figures, "cached_tokens")  # Together, Moonshot
        or _first(figures, "cache_read_input_tokens")  # litellm, for Anthropic and Bedrock
        or 0
    )
    written = (
        _first(details, "cache_write_tokens")  # OpenRouter
        or _first(details, "cache_creation_tokens")  # litellm
        or _first(figures, "cache_creation_input_tokens")  # litellm
        or 0
    )
    by_age = _details(details, "cache_creation_token_details")  # litellm
    written_1h = min(_first(by_age, "ephemeral_1h_input_tokens") or 0, written)
    audio, image = _first(details, "audio_tokens") or 0, _first(details, "image_tokens") or 0
    rest = whole - cache_read - written
    if rest < 0:
        raise _AbsurdError
    # Cached audio is in both counts: it is a cached token, and none is counted twice.
    audio = min(audio, rest)
    image = min(image, rest - audio)
    return {
        "input_uncached": rest - audio - image,
        "cache_read": cache_read,
        "cache_write_5m": written - written_1h,
        "cache_write_1h": written_1h,
        "input_audio": audio,
        "input_image": image,
    }


def _output_classes(whole: int, details: Mapping[str, Any], reasoning: int) -> dict[str, Any]:
    audio = min(_first(details, "audio_tokens") or 0, whole - reasoning)
    return {"output": whole - reasoning - audio, "reasoning": reasoning, "output_audio": audio}


def _details(figures: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The first of these members that is an object; null and absent are the same to providers."""
    return next((found for name in names if isinstance(found := figures.get(name), Mapping)), {})


def _first(figures: Mapping[str, Any], *names: str) -> int | None:
    """The first of these members that is there. Raises _AbsurdError for anything but a whole count."""
    for name in names:
        value = figures.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 <= value < _ABSURD:
            raise _AbsurdError
        return value
    return None


def _is_plausible(usage: Usage, context_window: int | None) -> bool:
    if usage.input_total == 0 and usage.output_total == 0:
        return False
    if context_window is None:
        return True
    return usage.input_total <= context_window and usage.output_total <= context_window * _MOST_CHOICES
