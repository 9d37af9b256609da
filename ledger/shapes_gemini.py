"""Shapes, Gemini: `usageMetadata`, which every chunk of a stream repeats, cumulative.

Input is prompt and tool prompt, and includes cached tokens; output is candidates and thoughts. Tokens by modality are
in lists beside each figure.
"""

from collections.abc import Mapping
from typing import Any, Final

from farthing.usage import Usage
from ledger.shapes import AbsurdError, count, details, extras_of
from ledger.statement import Portion

_TRAFFIC: Final = {"ON_DEMAND": "standard", "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}
"""The tier in Vertex's words."""


def find_gemini(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage object of a chunk or a whole answer."""
    figures = event.get("usageMetadata")
    return figures if type(figures) is dict else None


def read_gemini(figures: Mapping[str, Any], web_searches: int = 0) -> Portion:
    """Disjoint classes. Raises AbsurdError."""
    whole = count(figures, "promptTokenCount") + count(figures, "toolUsePromptTokenCount")
    cached = _by_modality(figures, "cacheTokensDetails")
    sent = _by_modality(figures, "promptTokensDetails", "toolUsePromptTokensDetails")
    made = _by_modality(figures, "candidatesTokensDetails")
    cache_read = count(figures, "cachedContentTokenCount")
    rest = whole - cache_read
    if rest < 0:
        raise AbsurdError
    # A cached token of any modality is counted as cached.
    audio = min(max(sent.get("AUDIO", 0) - cached.get("AUDIO", 0), 0), rest)
    image = min(max(sent.get("IMAGE", 0) - cached.get("IMAGE", 0), 0), rest - audio)
    video = min(max(sent.get("VIDEO", 0) - cached.get("VIDEO", 0), 0), rest - audio - image)
    reasoning = count(figures, "thoughtsTokenCount")
    # Candidates may be left out, and then the total tells them.
    output = max(count(figures, "candidatesTokenCount"), count(figures, "totalTokenCount") - whole - reasoning)
    output_audio = min(made.get("AUDIO", 0), output)
    image_made = min(made.get("IMAGE", 0), output - output_audio)
    cached_audio = min(cached.get("AUDIO", 0), cache_read)
    usage = Usage(
        input_uncached=rest - audio - image,
        cache_read=cache_read,
        output=output - output_audio,
        reasoning=reasoning,
        input_audio=audio,
        output_audio=output_audio,
        input_image=image,
    )
    return Portion(
        usage=usage,
        extras=extras_of(
            cached_audio=cached_audio,
            cached_image=min(cached.get("IMAGE", 0), cache_read - cached_audio),
            input_video=video,
            output_image=image_made,
            output_video=min(made.get("VIDEO", 0), output - output_audio - image_made),
            web_searches=web_searches,
        ),
    )


def gemini_tier(figures: Mapping[str, Any]) -> str:
    """The tier the answer was served in, empty where it does not say."""
    tier, traffic = figures.get("serviceTier"), figures.get("trafficType")
    if type(tier) is str:
        return tier.lower()
    return _TRAFFIC.get(traffic, traffic.lower()) if type(traffic) is str else ""


def gemini_searches(event: Mapping[str, Any]) -> int:
    """Searches billed for the grounding in a chunk: each query that is not empty, once; up to Gemini 2 the grounded
    prompt (ai.google.dev/gemini-api/docs/google-search)."""
    candidates = event.get("candidates")
    if type(candidates) is not list:
        return 0
    queries: set[str] = set()
    for candidate in candidates:
        if type(candidate) is dict:
            asked = details(candidate, "groundingMetadata").get("webSearchQueries")
            queries |= {query for query in asked if type(query) is str and query} if type(asked) is list else set()
    model = event.get("modelVersion")
    by_prompt = type(model) is str and model.startswith(("gemini-1", "gemini-2"))
    return min(len(queries), 1) if by_prompt else len(queries)


def _by_modality(figures: Mapping[str, Any], *names: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        items = figures.get(name)
        for item in items if type(items) is list else ():
            if type(item) is dict and type(modality := item.get("modality")) is str:
                counts[modality] = counts.get(modality, 0) + count(item, "tokenCount")
    return counts
