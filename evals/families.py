"""Families: who made a model, told from its name; a judge does not judge its own kin."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from evals.suite import Judge, Suite

TIER: Final = "tier/"
_FAMILIES: Final = (
    ("openai", r"gpt|chatgpt|o[1-9](?:\b|-)|davinci|codex"),
    ("anthropic", r"claude"),
    ("google", r"gemini|gemma|palm"),
    ("meta", r"(?:meta-|code)?llama"),
    ("mistral", r"mistral|mixtral|ministral|codestral|magistral|devstral|pixtral|open-mi[sx]tral"),
    ("qwen", r"qwen|qwq|qvq"),
    ("deepseek", r"deepseek"),
    ("microsoft", r"phi|wizardlm"),
    ("cohere", r"command|c4ai|aya"),
    ("xai", r"grok"),
    ("amazon", r"nova|titan"),
    ("huggingface", r"smollm|zephyr"),
    ("ibm", r"granite"),
    ("moonshot", r"kimi|moonshot"),
    ("zhipu", r"glm|chatglm"),
)


def family(model: str) -> str:
    """The maker of a model, from the last part of its id; else the letters with which that begins."""
    name = model.rsplit("/", 1)[-1].rsplit(":", 1)[0].casefold()
    name = re.sub(r"^(?:[a-z]+\.)+(?=[a-z])", "", name)  # as Bedrock writes: us.anthropic.claude-...
    for maker, pattern in _FAMILIES:
        if re.match(pattern, name):
            return maker
    letters = re.match(r"[a-z]+", name)
    return letters[0] if letters else name


def kin_fault(suite: Suite, models: Mapping[str, Sequence[str]]) -> str:
    """Why the suite's judge may not judge: it is of a family with a tier that is tested. Empty where it may.

    `models` are the deployment ids of every tier.
    """
    if suite.judge is None:
        return ""
    own = _families(models_of(suite.judge, models))
    for tier in (*suite.candidates, suite.reference):
        shared = sorted(own & _families(models.get(tier, ())))
        if shared:
            return (
                f"the judge {suite.judge.model} and tier {tier} are both of {', '.join(shared)}: judges favour their "
                "own kin, so name a judge of another family than every candidate and the reference"
            )
    return ""


def models_of(judge: Judge, models: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The models that a judge's name means: a tier's deployments, or itself."""
    return models.get(judge.model.removeprefix(TIER), ()) if judge.model.startswith(TIER) else (judge.model,)


def _families(models: Iterable[str]) -> frozenset[str]:
    return frozenset(map(family, models))
