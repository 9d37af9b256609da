"""Recorded outcomes of real models on ZeroEval's tasks: who got which item right, and what the answer would have cost.

There are no token counts on record: four characters count as a token.
"""

import csv
import gzip
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from evals.betting import Floats
from ledger.prices import PriceBook

CHARACTERS_PER_TOKEN: Final = 4
FEMTO_PER_USD: Final = 10**15
PRICED_AT_NS: Final = 1_735_689_600 * 10**9
"""The first of January 2025: about when these answers were given."""
PRICED: Final[Mapping[str, tuple[str, str]]] = {
    "claude-3-5-haiku-20241022": ("anthropic", "claude-3-5-haiku-20241022"),
    "claude-3-5-sonnet-20240620": ("anthropic", "claude-3-5-sonnet-20240620"),
    "claude-3-5-sonnet-20241022": ("anthropic", "claude-3-5-sonnet-20241022"),
    "claude-3-haiku-20240307": ("anthropic", "claude-3-haiku-20240307"),
    "claude-3-opus-20240229": ("anthropic", "claude-3-opus-20240229"),
    "claude-3-sonnet-20240229": ("anthropic", "claude-3-sonnet-20240229"),
    "command-r": ("cohere", "command-r"),
    "command-r-plus": ("cohere", "command-r-plus"),
    "gemini-1.5-flash": ("google", "gemini-1.5-flash"),
    "gemini-1.5-pro": ("google", "gemini-1.5-pro"),
    "gemma-2-27b-it": ("openrouter", "google/gemma-2-27b-it"),
    "gemma-2-9b-it": ("openrouter", "google/gemma-2-9b-it"),
    "gpt-3.5-turbo-0125": ("openai", "gpt-3.5-turbo-0125"),
    "gpt-4-0314": ("openai", "gpt-4-0314"),
    "gpt-4-turbo-2024-04-09": ("openai", "gpt-4-turbo-2024-04-09"),
    "gpt-4o-2024-05-13": ("openai", "gpt-4o-2024-05-13"),
    "gpt-4o-2024-08-06": ("openai", "gpt-4o-2024-08-06"),
    "gpt-4o-mini-2024-07-18": ("openai", "gpt-4o-mini-2024-07-18"),
    "grok-2-1212": ("x-ai", "grok-2-1212"),
    "Llama-3.1-405B-Inst@sambanova": ("together", "meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo"),
    "Meta-Llama-3-70B-Instruct": ("together", "meta-llama/Meta-Llama-3-70B-Instruct-Turbo"),
    "Meta-Llama-3-8B-Instruct": ("together", "meta-llama/Meta-Llama-3-8B-Instruct-Turbo"),
    "Meta-Llama-3.1-70B-Instruct": ("together", "meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo"),
    "Meta-Llama-3.1-8B-Instruct": ("together", "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"),
    "Mistral-Large-2": ("mistral", "mistral-large"),
    "Mistral-Nemo-Instruct-2407": ("mistral", "mistral-nemo"),
    "Mixtral-8x7B-Instruct-v0.1": ("mistral", "mixtral-8x7b"),
    "o1-mini-2024-09-12": ("openai", "o1-mini"),
    "o1-preview-2024-09-12": ("openai", "o1-preview"),
    "Phi-3.5-mini-instruct": ("openrouter", "microsoft/phi-3.5-mini-128k-instruct"),
    "Qwen2-72B-Instruct": ("openrouter", "qwen/qwen-2-72b-instruct"),
    "Qwen2.5-72B-Instruct": ("openrouter", "qwen/qwen-2.5-72b-instruct"),
    "Qwen2.5-7B-Instruct": ("openrouter", "qwen/qwen-2.5-7b-instruct"),
    "yi-large": ("openrouter", "01-ai/yi-large"),
}
"""Models on record that the packaged price list knows: provider and model there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer on record: 1 where it was right, else 0, and its length and that of its prompt in characters."""

    score: float
    prompt_chars: int
    output_chars: int


Outcomes = Mapping[tuple[str, str], Mapping[str, Answer]]
"""By task and model, then by the item's id."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Some models on the items of one task that all of them answered: `scores` and `costs` (USD a call) have the shape
    (models, items)."""

    task: str
    models: tuple[str, ...]
    scores: Floats
    costs: Floats


def read_outcomes(data: Path) -> Outcomes:
    """All answers on record below the folder `data`."""
    found: dict[tuple[str, str], dict[str, Answer]] = defaultdict(dict)
    with gzip.open(data / "zeroeval" / "outcomes.csv.gz", "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            answer = Answer(float(row["correct"]), int(row["prompt_chars"]), int(row["output_chars"]))
            found[row["task"], row["model"]][row["qid"]] = answer
    return found


def tasks_of(outcomes: Outcomes) -> list[str]:
    """The tasks on record."""
    return sorted({task for task, _ in outcomes})


def usd_per_token(model: str) -> tuple[float, float]:
    """What the packaged price list asks for a token of input and of output."""
    rates = PriceBook().price(*PRICED[model], PRICED_AT_NS).rates(1_000)
    return rates.input_uncached / FEMTO_PER_USD, rates.output / FEMTO_PER_USD


def ladder(outcomes: Outcomes, task: str, models: Sequence[str]) -> Ladder:
    """The models on the items of the task that all of them answered."""
    answers = [outcomes[task, model] for model in models]
    items = sorted(set.intersection(*(set(known) for known in answers)))
    scores = np.array([[known[item].score for item in items] for known in answers])
    costs = [
        [(known[item].prompt_chars * asked + known[item].output_chars * told) / CHARACTERS_PER_TOKEN for item in items]
        for known, (asked, told) in zip(answers, map(usd_per_token, models), strict=True)
    ]
    return Ladder(task, tuple(models), scores, np.array(costs))
