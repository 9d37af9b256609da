"""Providers: what is known about each kind of model provider, one row of data each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from farthing.catalog import CacheWire, Quirks


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of provider.

    `base_url` empty: the operator must give it. `key_variable` is where its key usually is; empty: it needs none.
    `price_provider` is the provider id of genai-prices; empty: the provider's own name, to be priced under `prices:`.
    """

    base_url: str = ""
    key_variable: str = ""
    price_provider: str = ""
    adapter: str = "openai"
    quirks: Quirks = Quirks()
    needs_base_url: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    # --- spoken natively ---
    # max_tokens is refused by OpenAI's reasoning models; every chat model takes max_completion_tokens.
    "openai": Kind(
        base_url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        price_provider="openai",
        quirks=Quirks(output_cap_field="max_completion_tokens", base64_embeddings=True, prompt_cache=CacheWire.KEY),
    ),
    # The v1 surface (https://NAME.openai.azure.com/openai/v1) needs no api-version; the older one with
    # .../openai/deployments/NAME does, as quirks: {query: api-version=...}.
    "azure": Kind(
        key_variable="AZURE_OPENAI_API_KEY",
        price_provider="azure",
        quirks=Quirks(
            output_cap_field="max_completion_tokens",
            key_header="api-key",
            key_scheme="",
            base64_embeddings=True,
            prompt_cache=CacheWire.KEY,
        ),
        needs_base_url=True,
    ),
    "vllm": Kind(base_url="http://127.0.0.1:8000/v1", quirks=Quirks(base64_embeddings=True)),
    "ollama": Kind(base_url="http://127.0.0.1:11434/v1"),
    # n_predict beats max_tokens, n_cmpl beats n, and with n above 1 usage covers one choice only: docs/demo-model.md.
    "llamacpp": Kind(
        base_url="http://127.0.0.1:8080/v1",
        quirks=Quirks(cap_escapes=("n_predict", "n_cmpl"), usage_covers_choices=False),
    ),
    "groq": Kind(
        base_url="https://api.groq.com/openai/v1",
        key_variable="GROQ_API_KEY",
        price_provider="groq",
        quirks=Quirks(output_cap_field="max_completion_tokens"),
    ),
    # Refuses stream_options and max_completion_tokens with 422 (openai/openai-agents-python #442,
    # editor-code-assistant/eca #231) and sends usage with the finish chunk unasked.
    "mistral": Kind(
        base_url="https://api.mistral.ai/v1",
        key_variable="MISTRAL_API_KEY",
        price_provider="mistral",
        quirks=Quirks(stream_usage=False, prompt_cache=CacheWire.KEY),
    ),
    "deepseek": Kind(
        base_url="https://api.deepseek.com/v1",
        key_variable="DEEPSEEK_API_KEY",
        price_provider="deepseek",
    ),
    "xai": Kind(
        base_url="https://api.x.ai/v1",
        key_variable="XAI_API_KEY",
        price_provider="x-ai",
        quirks=Quirks(output_cap_field="max_completion_tokens"),
    ),
    "openrouter": Kind(
        base_url="https://openrouter.ai/api/v1",
        key_variable="OPENROUTER_API_KEY",
        price_provider="openrouter",
        # Another model may answer, at its own price (openrouter.ai/docs/guides/routing); plugins are billed apart.
        quirks=Quirks(cap_escapes=("models", "route", "plugins"), prompt_cache=CacheWire.MARKS),
    ),
    "gemini": Kind(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_variable="GEMINI_API_KEY",
        price_provider="google",
    ),
    # --- through litellm, which knows their addresses and wire formats; path_prefix is its name for the provider ---
    "anthropic": Kind(
        key_variable="ANTHROPIC_API_KEY",
        price_provider="anthropic",
        adapter="litellm",
        quirks=Quirks(path_prefix="anthropic", prompt_cache=CacheWire.MARKS),
    ),
    # Bedrock and Vertex find their credentials in the environment of the process, as their own tools do.
    "bedrock": Kind(
        price_provider="aws",
        adapter="litellm",
        quirks=Quirks(path_prefix="bedrock", prompt_cache=CacheWire.MARKS),
    ),
    "vertex": Kind(
        price_provider="google",
        adapter="litellm",
        quirks=Quirks(path_prefix="vertex_ai", prompt_cache=CacheWire.MARKS),
    ),
    "litellm": Kind(adapter="litellm"),
}


# The model with which a provider joins by itself when its key is in the environment: a current all-round model that the
# price list knows. Ordered by its price of output, cheapest first, because tiers are (genai-prices 0.2.3, 2026-11).
NEWCOMERS: Final[Mapping[str, str]] = {
    "groq": "openai/gpt-oss-120b",
    "deepseek": "deepseek-flash",
    "openrouter": "openai/gpt-5.6-luna",
    "gemini": "gemini-3.8-flash",
    "openai": "gpt-6.1-terra",
    "xai": "grok-4.7",
    "mistral": "mistral-medium-latest",
    "anthropic": "claude-sonnet-5-5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProvider:
    """A provider whose key is in the environment; the key itself is not kept. `name` is a key of KINDS."""

    name: str
    variable: str
    model: str
    adapter: str

    def provider_fragment(self) -> str:
        """Its entry under `providers:`; it loads without the key too, for commands that call no model."""
        return f"  {self.name}:\n    kind: {self.name}\n    api_key: ${{{self.variable}:-none}}\n"

    def tier_fragment(self) -> str:
        """Its entry under `tiers:`."""
        return f"  - name: {self.name}\n    deployments:\n      - {{provider: {self.name}, model: {self.model}}}\n"


def provider_from_environment(env: Mapping[str, str]) -> list[FoundProvider]:
    """The known providers whose key variable is set and not empty, in the order of NEWCOMERS."""
    return [
        FoundProvider(name=name, variable=KINDS[name].key_variable, model=model, adapter=KINDS[name].adapter)
        for name, model in NEWCOMERS.items()
        if env.get(KINDS[name].key_variable)
    ]
