"""Demo: the configuration of the first run, which needs no key, as package data and a function that writes it."""

import importlib.util
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from gateway.settings import schema
from gateway.settings.providers import FoundProvider, provider_from_environment

FILES: Final = ("farthing.yaml", "routing.yaml", "keys.yaml", "budgets.yaml", "prices.yaml")
_PROVIDERS_MARK: Final = "  # (providers found in the environment)\n"
_TIERS_MARK: Final = "  # (tiers found in the environment)\n"


def joining_providers(env: Mapping[str, str]) -> tuple[FoundProvider, ...]:
    """The providers whose key is in the environment and whose adapter is installed."""
    has_litellm = importlib.util.find_spec("litellm") is not None
    return tuple(one for one in provider_from_environment(env) if one.adapter != "litellm" or has_litellm)


def write_tree(
    directory: Path, env: Mapping[str, str], model_url: str, embeddings_url: str, key_hash: str
) -> tuple[FoundProvider, ...]:
    """Write the demo tree into a directory (made if need be) and return the providers that joined as higher tiers.

    The URLs are those of the two local servers, such as http://127.0.0.1:8081, with or without /v1; `key_hash` is
    `sha256:HEX`. All three become defaults of the references in the files, so the tree can also be loaded later
    without them in the environment. Provider keys are written as references, never as values.
    """
    joined = joining_providers(env)
    defaults = {
        "FARTHING_MODEL_URL": _without_version(model_url),
        "FARTHING_EMBEDDINGS_URL": _without_version(embeddings_url),
        "FARTHING_DEMO_KEY_HASH": key_hash,
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        text = _with_defaults((files(__name__) / name).read_text(encoding="utf-8"), defaults)
        text = text.replace(_PROVIDERS_MARK, "".join(one.provider_fragment() for one in joined))
        text = text.replace(_TIERS_MARK, "".join(one.tier_fragment() for one in joined))
        (directory / name).write_text(text, encoding="utf-8")
    schema.write(directory / "schemas")
    return joined


def _with_defaults(text: str, defaults: Mapping[str, str]) -> str:
    for name, value in defaults.items():
        text = text.replace(f"${{{name}}}", f"${{{name}:-{value}}}")
    return text


def _without_version(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")
