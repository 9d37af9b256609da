"""Billed names: what the rows of a FOCUS file, which may be of many providers, call the one that is asked for."""

import re
from collections.abc import Collection, Mapping
from typing import Final

_NO_NAME: Final = re.compile(
    r"[\W_]+|\b(inc|llc|ltd|limited|pbc|corp|corporation|opco|ireland|gmbh|sas|sarl)\b", re.IGNORECASE
)
_KNOWN_AS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws": ("amazon", "amazon web services", "aws bedrock", "amazon bedrock"),
    "azure": ("microsoft", "microsoft azure"),
    "cloudflare": ("cloudflare workers ai",),
    "fireworks": ("fireworks ai",),
    "google": ("google cloud", "google cloud platform", "gcp"),
    "mistral": ("mistral ai",),
    "moonshotai": ("moonshot",),
    "perplexity": ("perplexity ai",),
    "together": ("together ai", "together computer"),
}
"""For a name in the price list those by which it sends bills, beside its own."""


def billed_names(names: Collection[str]) -> frozenset[str]:
    """The `plain_name`s of a provider that goes by `names` in the ledger and in the price list."""
    known = [alias for name in names for alias in _KNOWN_AS.get(name, ())]
    return frozenset(map(plain_name, (*names, *known)))


def plain_name(text: str) -> str:
    """Letters and digits alone, without the form of the company: `OpenAI, LLC` and `openai` are one."""
    return _NO_NAME.sub("", text).lower() or text.strip().lower()
