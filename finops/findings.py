"""Findings: what a detector tells, and the YAML that would stop it."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from farthing.money import NANO_PER_USD, Nano, format_usd
from farthing.tags import MOST_TAG


class What(StrEnum):
    """The surprises."""

    RAMP = "traffic ramp"
    EVALS = "eval suite on every commit"
    LEFT_ON = "environment left on"
    SCHEDULE = "forgotten schedule"
    RE_EMBEDDING = "corpus embedded anew"
    PROMPT_GROWTH = "prompts grow"
    HIT_RATE = "cache hit rate falls"
    RETRIES = "retry storm"
    PRICE = "price change"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`since` is the UTC hour since 1970 in which it began, as far as can be told; `per_day` what it costs beyond
    what is usual, nano-dollars a day (less than nothing for a price that fell); `yaml` goes into the configuration."""

    what: What
    since: int
    per_day: Nano
    cause: str
    yaml: str
    feature: str = ""
    environment: str = ""
    task: str = ""
    model: str = ""

    @property
    def scope(self) -> tuple[What, str, str, str, str]:
        """Two findings with the same scope are one, seen twice."""
        return self.what, self.feature, self.environment, self.task, self.model


_LEAST_LIMIT: Final = NANO_PER_USD // 100


def budget(usual_day: float, **where: str) -> str:
    """An entry of `budgets` that allows a day twice of what is usual, a cent at least."""
    limit = max(2 * round(usual_day), _LEAST_LIMIT)
    cents = -(-limit // _LEAST_LIMIT) * _LEAST_LIMIT
    return _budget(Nano(cents), where)


def stop(**where: str) -> str:
    """An entry of `budgets` that refuses every call."""
    return _budget(Nano(0), where)


def feature_setting(feature: str, setting: str) -> str:
    """A setting of a feature."""
    return f"features: {{{json.dumps(feature)}: {{{setting}}}}}"


def _budget(limit: Nano, where: dict[str, str]) -> str:
    known = {name: value for name, value in where.items() if value}
    name = json.dumps("-".join(["stop", *known.values()])[:MOST_TAG])
    scopes = ", ".join(f"{scope}: {json.dumps(value)}" for scope, value in known.items())
    return f"budgets: [{{id: {name}, limit_usd: {format_usd(limit, 2)}, window: day, where: {{{scopes}}}}}]"
