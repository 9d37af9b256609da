"""Shapes: the usage object of OpenAI and of everybody who sends one like it, as disjoint token classes.

A comment beside a field names who sends it. The shapes of Anthropic and Gemini stand in the modules beside this one.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from farthing.money import Nano, nano_from_usd
from farthing.usage import Usage
from ledger.statement import Portion

_ABSURD: Final = 10**9
"""No answer has so many tokens; keeps a hostile figure out of 64-bit columns."""
_MOST_USD: Final = 10**6
_XAI_TICKS_PER_NANO: Final = 10

_NONE: Final[dict[str, Any]] = {}


class AbsurdError(ValueError):
    """A figure that cannot be true."""


def count(figures: Mapping[str, Any], name: str) -> int:
    """A figure, 0 where it is absent. Raises AbsurdError for anything but a whole count."""
    value = figures.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < _ABSURD:
        raise AbsurdError
    return value


def details(figures: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The first of these members that is an object; null and absent are the same to providers."""
    for name in names:
        found = figures.get(name)
        if found and type(found) is dict:
            return found
    return _NONE


def extras_of(**counts: int) -> tuple[tuple[str, int], ...]:
    """The counts that are not zero, as `Portion.extras`."""
    return tuple((name, number) for name, number in counts.items() if number)


def find_openai(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage object in an answer, a stream chunk or a Responses event, wherever it is kept."""
    figures = event.get("usage")
    if type(figures) is dict:
        return figures
    for name in ("x_groq", "response"):  # Groq, Responses
        holder = event.get(name)
        if holder and type(holder) is dict and type(figures := holder.get("usage")) is dict:
            return figures
    return None


def read_openai(figures: Mapping[str, Any]) -> Portion:
    """Disjoint classes; input figures include cached and written tokens in every OpenAI shape. Raises AbsurdError."""
    of_input = details(figures, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    whole = _input(figures)
    cache_read = _cache_read(figures, of_input)
    written, written_1h = _cache_written(figures, of_input)
    rest = whole - cache_read - written
    if rest < 0:
        raise AbsurdError
    cached_audio, cached_image = _cached_kinds(of_input, cache_read) if cache_read else (0, 0)
    # Cached audio is in both counts: it is a cached token, and none is counted twice.
    audio = min(max(count(of_input, "audio_tokens") - cached_audio, 0), rest)
    image = min(max(count(of_input, "image_tokens") - cached_image, 0), rest - audio)
    video = min(count(of_input, "video_tokens"), rest - audio - image)  # OpenRouter
    output, reasoning, output_audio, output_image = _output_classes(figures, whole)
    usage = Usage(
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
    citation = count(figures, "citation_tokens")  # Perplexity, outside both totals
    searches = _web_searches(figures)
    if not (cached_audio or cached_image or video or output_image or citation or searches):
        return Portion(usage=usage)
    return Portion(
        usage=usage,
        extras=extras_of(
            cached_audio=cached_audio,
            cached_image=cached_image,
            input_video=video,
            output_image=output_image,
            output_citation=citation,
            web_searches=searches,
        ),
    )


def hosted_tool_calls(event: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """Searches that OpenAI made for a Responses answer: billed by the call and told in the output alone."""
    output = event.get("output") or details(event, "response").get("output")
    if type(output) is not list:
        return ()
    items = [item for item in output if type(item) is dict]
    # Opening a page that was found, or searching in it, costs tokens only.
    searches = [item for item in items if details(item, "action").get("type", "search") == "search"]
    return extras_of(
        web_searches=sum(item.get("type") == "web_search_call" for item in searches),
        storage_searches=sum(item.get("type") == "file_search_call" for item in items),
    )


def stated_cost(figures: Mapping[str, Any]) -> Nano | None:
    """What the provider says that the answer cost, None where it does not say (or says what cannot be)."""
    ticks = figures.get("cost_in_usd_ticks")  # xAI: 1e-10 USD
    if type(ticks) is int and 0 <= ticks <= _MOST_USD * 10**10:
        return Nano((ticks + _XAI_TICKS_PER_NANO // 2) // _XAI_TICKS_PER_NANO)
    cost = figures.get("cost")  # OpenRouter
    if cost is None:
        return None
    if type(cost) is dict:
        cost = cost.get("total_cost")  # Perplexity
    stated = _nano(cost)
    if stated is not None and figures.get("is_byok") is True:  # OpenRouter: then `cost` is its own fee alone
        stated = Nano(stated + (_nano(details(figures, "cost_details").get("upstream_inference_cost")) or 0))
    return stated


def _nano(usd: object) -> Nano | None:
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd <= _MOST_USD:
        return None
    # repr gives the shortest decimal that reads as the same float: the figure that was sent.
    return nano_from_usd(Decimal(repr(usd)))


def _cached_kinds(of_input: Mapping[str, Any], cache_read: int) -> tuple[int, int]:
    """Audio and images among the cached tokens: realtime and audio models tell."""
    cached = details(of_input, "cached_tokens_details")
    audio = min(count(cached, "audio_tokens"), cache_read)
    return audio, min(count(cached, "image_tokens"), cache_read - audio)


def _input(figures: Mapping[str, Any]) -> int:
    if figures.get("prompt_tokens") is not None:
        return count(figures, "prompt_tokens")
    if figures.get("input_tokens") is not None:  # Responses
        return count(figures, "input_tokens")
    raise AbsurdError


def _cache_read(figures: Mapping[str, Any], of_input: Mapping[str, Any]) -> int:
    return (
        count(of_input, "cached_tokens")
        or count(figures, "prompt_cache_hit_tokens")  # DeepSeek
        or count(figures, "cached_tokens")  # Together, Moonshot
        or count(figures, "cache_read_input_tokens")  # litellm, for Anthropic and Bedrock
    )


def _cache_written(figures: Mapping[str, Any], of_input: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens written to the provider's cache, and how many of them for an hour."""
    written = (
        count(of_input, "cache_write_tokens")  # OpenAI, OpenRouter
        or count(of_input, "cache_creation_tokens")  # litellm
        or count(figures, "cache_creation_input_tokens")  # litellm
    )
    if not written:
        return 0, 0
    by_age = details(of_input, "cache_creation_token_details")  # litellm
    return written, min(count(by_age, "ephemeral_1h_input_tokens"), written)


def _output_classes(figures: Mapping[str, Any], input_: int) -> tuple[int, int, int, int]:
    """Output, reasoning, audio, and how much of the output is images. xAI counts reasoning outside completion_tokens
    but inside total_tokens; others inside both. OpenRouter may tell more reasoning than output: the total decides,
    and without one the dearer reading does."""
    of_output = details(figures, "completion_tokens_details", "output_tokens_details", "output_token_details")
    told_at_top = count(figures, "reasoning_tokens")  # DeepSeek at Azure, Perplexity
    reasoning = count(of_output, "reasoning_tokens") or told_at_top
    whole = count(figures, "completion_tokens") or count(figures, "output_tokens")
    if figures.get("total_tokens") is not None:
        whole = max(whole, count(figures, "total_tokens") - input_)
        if told_at_top > whole:  # Perplexity's deep research bills reasoning outside both
            whole += told_at_top
    elif reasoning > whole:
        whole += reasoning
    reasoning = min(reasoning, whole)
    audio = min(count(of_output, "audio_tokens"), whole - reasoning)
    output = whole - reasoning - audio
    return output, reasoning, audio, min(count(of_output, "image_tokens"), output)


def _web_searches(figures: Mapping[str, Any]) -> int:
    tools = figures.get("server_tool_use_details") or figures.get("server_tool_use")  # OpenRouter; litellm
    told = count(tools, "web_search_requests") if type(tools) is dict else 0
    return told or count(figures, "num_search_queries")  # Perplexity
