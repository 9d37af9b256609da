"""Made-up hours of a company: five uses of models and their ordinary unrest, and nine surprises to put into them.

Counts are Poisson around an hour's shape, times the noise of its day (12 %) and of the hour (15 %). The unrest that no
detector is to tell: an hour in 300 has twice the calls, one in 200 has a fifth of them failing, prompts are longer for
a day in 30, a load test of a day runs in dev, on a day in ten a release has evals run six times, documents are imported
within an hour, another embedding model is tried on a few hundred texts, somebody calls at random hours. All of these
figures are multiplied by `unrest`.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from bench.anomaly_days import HOURS, SHAPE
from finops.anomaly import Floats
from finops.findings import What
from finops.hours import DAY, FIGURES, Hours, Key
from finops.watch import Watch

DAYS: Final = 63
QUIET: Final = 42
"""Days in which nothing begins."""
UNTIL: Final = (20_000 + DAYS) * DAY
PLACE: Final = {name: place for place, name in enumerate(FIGURES)}
RATES: Final = {
    "large": (2_500.0, 250.0, 10_000.0),
    "small": (150.0, 75.0, 600.0),
    "embed-1": (20.0, 20.0, 0.0),
    "embed-2": (130.0, 130.0, 0.0),
}
"""Nano-dollars of a token: input, read from a cache, output."""
WATCH: Final = Watch(owned=frozenset({"support", "search", "documents", "evals"}))
Dice = np.random.Generator
Tables = dict[Key, Floats]
SUPPORT: Final = Key("support", "answer", "production", "large")
SEARCH: Final = Key("search", "rank", "production", "small")
DOCUMENTS: Final = Key("documents", "", "production", "embed-1")
UPGRADED: Final = DOCUMENTS._replace(model="embed-2")
DEV: Final = Key("support", "answer", "dev", "large")
EVALS: Final = Key("evals", "suite", "ci", "large")
JOB: Final = Key("digest", "summary", "production", "large")
AD_HOC: Final = Key("playground", "", "production", "large")


def counts(dice: Dice, per_hour: Floats, unrest: float) -> Floats:
    """Calls in each hour around what is usual."""
    daily = np.repeat(np.maximum(1 + 0.12 * unrest * dice.standard_normal(len(per_hour) // DAY), 0.1), DAY)
    own = np.maximum(1 + 0.15 * unrest * dice.standard_normal(len(per_hour)), 0.1)
    bursts = np.where(dice.random(len(per_hour)) < unrest / 300, 2.0, 1.0)
    return np.asarray(dice.poisson(per_hour * daily * own * bursts), dtype=np.float64)


def usage(
    dice: Dice,
    requests: Floats,
    model: str,
    *,
    tokens: Floats | float = 1_500.0,
    hit_rate: Floats | float = 0.0,
    inputs: float = 0.0,
    failing: Floats | float = 0.01,
) -> Floats:
    """The figures of a key with so many calls in each hour."""
    table = np.zeros((len(FIGURES), len(requests)))
    asked = requests.astype(np.int64)
    hits = dice.binomial(asked, hit_rate) if np.any(hit_rate) else np.zeros(len(asked))
    sent = asked - hits
    failed = dice.binomial(sent.astype(np.int64), failing)
    each = tokens * np.maximum(1 + 0.05 * dice.standard_normal(len(requests)), 0.2)
    answers = 200 * np.maximum(1 + 0.1 * dice.standard_normal(len(requests)), 0.2)
    figures = {
        "requests": requests,
        "hits": hits,
        "misses": sent if np.any(hit_rate) else 0 * sent,
        "attempts": sent + 0.5 * failed,
        "failed": failed,
        "inputs": sent * inputs,
        "input_tokens": sent * each * max(inputs, 1.0),
        "cached_tokens": sent * each * 0.3 * (inputs == 0),
        "output_tokens": sent * answers * (inputs == 0),
    }
    for name, values in figures.items():
        table[PLACE[name]] = np.round(values)
    price(table, model)
    return table


def price(table: Floats, model: str, since: int = 0, times: float = 1.0) -> None:
    """Write the costs of the hours from `since` on."""
    fresh, cached, output = (times * rate for rate in RATES[model])
    tokens = {name: table[PLACE[name], since:] for name in ("input_tokens", "cached_tokens", "output_tokens")}
    read = tokens["cached_tokens"]
    cost = (tokens["input_tokens"] - read) * fresh + read * cached + tokens["output_tokens"] * output
    table[PLACE["cost"], since:] = np.round(cost)


def office(dice: Dice, peak: float) -> Floats:
    """Calls an hour of people at work, with the weekday of the first day drawn."""
    week = SHAPE[(np.arange(DAYS) + dice.integers(7)) % 7]
    return np.asarray(peak * (week[:, None] * HOURS[None, :] / 2.4).reshape(-1))


def healthy(dice: Dice, unrest: float) -> Tables:
    """Nine weeks in which nothing is wrong."""
    tokens = np.repeat(np.where(dice.random(DAYS) < unrest / 30, 1.3, 1.0), DAY) * 1_500
    failing = np.where(dice.random(DAYS * DAY) < unrest / 200, 0.2, 0.01)
    rate = np.clip(0.35 + np.repeat(0.015 * unrest * dice.standard_normal(DAYS), DAY), 0.05, 0.9)
    support = counts(dice, office(dice, 600), unrest)
    search = counts(dice, 0.5 * office(dice, 3_000) + 800, unrest)
    documents = counts(dice, office(dice, 40), unrest)
    documents[dice.choice(DAYS * DAY, 3)] += 400
    tables = {
        SUPPORT: usage(dice, support, "large", tokens=tokens, hit_rate=rate, failing=failing),
        SEARCH: usage(dice, search, "small", tokens=700, hit_rate=np.clip(rate + 0.2, 0, 1), failing=failing),
        DOCUMENTS: usage(dice, documents, "embed-1", tokens=400, inputs=16),
        DEV: usage(dice, _dev(dice, unrest), "large"),
        EVALS: usage(dice, _evals(dice, unrest), "large"),
        AD_HOC: usage(dice, np.asarray(3.0 * dice.poisson(0.15, DAYS * DAY)), "large"),
    }
    if dice.random() < 0.5:
        trial = np.zeros(DAYS * DAY)
        trial[dice.integers(QUIET * DAY, DAYS * DAY - 3) + np.arange(3)] = 15
        tables[UPGRADED] = usage(dice, trial, "embed-2", tokens=400, inputs=16)
    return tables


def _dev(dice: Dice, unrest: float) -> Floats:
    """People at work, now and then by night, and one day of load."""
    calls = office(dice, 40)
    calls[calls < 12] = 0
    calls = counts(dice, calls, unrest)
    begin = dice.integers(QUIET * DAY, (DAYS - 2) * DAY)
    calls[begin : begin + DAY] += 60
    return calls


def _evals(dice: Dice, unrest: float) -> Floats:
    """A suite each night, and on a day of release in ten six times."""
    calls = np.zeros((DAYS, DAY))
    calls[:, 2] = 300
    for day in np.flatnonzero(dice.random(DAYS) < 0.1 * unrest):
        calls[day, dice.choice(np.arange(8, 18), 5, replace=False)] = 300
    return calls.reshape(-1)


# --- the surprises: each changes tables from an hour on --------------------------------------------------


def _ramp(dice: Dice, tables: Tables, begin: int) -> None:
    """Ten times the calls, at once or within a day."""
    table = tables[SUPPORT]
    rise = np.minimum(np.arange(1, table.shape[1] - begin + 1) / dice.integers(1, 25), 1.0)
    table[:, begin:] = np.round(table[:, begin:] * (1 + 9 * rise))
    price(table, SUPPORT.model)


def _evals_often(dice: Dice, tables: Tables, begin: int) -> None:
    """Some 6 to 20 runs on each working day."""
    calls = tables[EVALS][PLACE["requests"]].copy()
    first, count = dice.integers(7), dice.integers(6, 21)
    for day in range(begin // DAY, DAYS):
        if (day + first) % 7 < 5:
            hours = day * DAY + dice.integers(8, 20, count)
            np.add.at(calls, hours[hours >= begin], 300)
    tables[EVALS] = usage(dice, calls, EVALS.model)


def _left_on(dice: Dice, tables: Tables, begin: int) -> None:
    """Something in dev calls by itself, at a rate of 15 to 60 an hour."""
    calls = tables[DEV][PLACE["requests"]].copy()
    calls[begin:] += dice.poisson(dice.uniform(30, 60), len(calls) - begin)
    tables[DEV] = usage(dice, calls, DEV.model)


def _schedule(dice: Dice, tables: Tables, begin: int) -> None:
    """A feature that nobody owns, each night or every six hours."""
    calls = np.zeros(DAYS * DAY)
    calls[begin :: int(dice.choice([6, 24]))] = 250
    calls[calls > 0] += dice.poisson(20, int((calls > 0).sum()))
    tables[JOB] = usage(dice, calls, JOB.model)


def _re_embedded(dice: Dice, tables: Tables, begin: int) -> None:
    """All that was embedded in six weeks, and twice as much from before, by another model within 6 to 48 hours."""
    corpus, span = 3 * tables[DOCUMENTS][PLACE["inputs"], :begin].sum(), int(dice.integers(6, 49))
    calls = np.zeros(DAYS * DAY)
    calls[begin : begin + span] = dice.poisson(corpus / 16 / span, len(calls[begin : begin + span]))
    tables[UPGRADED] = usage(dice, calls, UPGRADED.model, tokens=400, inputs=16)


def _growing_prompts(dice: Dice, tables: Tables, begin: int) -> None:
    """Input tokens of a call grow by 2 to 5 % a day."""
    table, rate = tables[SUPPORT], dice.uniform(0.02, 0.05)
    growth = (1 + rate) ** (np.arange(table.shape[1] - begin) / DAY)
    table[PLACE["input_tokens"], begin:] = np.round(table[PLACE["input_tokens"], begin:] * growth)
    price(table, SUPPORT.model)


def _colder_cache(dice: Dice, tables: Tables, begin: int) -> None:
    """A third to all of the hits become misses."""
    requests = tables[SUPPORT][PLACE["requests"]]
    rates = np.where(np.arange(len(requests)) < begin, 0.35, 0.35 * dice.uniform(0, 2 / 3))
    tables[SUPPORT] = usage(dice, requests, SUPPORT.model, hit_rate=rates)


def _retries(dice: Dice, tables: Tables, begin: int) -> None:
    """For 6 to 48 hours 40 to 90 % of tries fail and are repeated twice."""
    table, span = tables[SUPPORT], slice(begin, begin + int(dice.integers(6, 49)))
    failed = dice.binomial(table[PLACE["attempts"], span].astype(np.int64), dice.uniform(0.4, 0.9))
    table[PLACE["attempts"], span] += 2 * failed
    table[PLACE["failed"], span] += np.round(0.5 * failed)


def _dearer(dice: Dice, tables: Tables, begin: int) -> None:
    """The tokens of a model cost 10 to 100 % more, or 10 to 50 % less."""
    times = dice.choice([dice.uniform(1.1, 2.0), dice.uniform(0.5, 0.9)])
    for key, table in tables.items():
        if key.model == "large":
            price(table, key.model, begin, float(times))


Surprise = Callable[[Dice, Tables, int], None]
SURPRISES: Final[Mapping[What, Surprise]] = {
    What.RAMP: _ramp,
    What.EVALS: _evals_often,
    What.LEFT_ON: _left_on,
    What.SCHEDULE: _schedule,
    What.RE_EMBEDDING: _re_embedded,
    What.PROMPT_GROWTH: _growing_prompts,
    What.HIT_RATE: _colder_cache,
    What.RETRIES: _retries,
    What.PRICE: _dearer,
}


def world(seed: tuple[int, ...], what: What | None, unrest: float = 1.0) -> tuple[Hours, int]:
    """The hours of nine weeks, and the hour in which the surprise began (none: the first in which one could have)."""
    dice = np.random.default_rng(seed)
    tables = healthy(dice, unrest)
    begin = int(dice.integers(QUIET * DAY, (QUIET + 5) * DAY)) if what else QUIET * DAY
    if what:
        SURPRISES[what](dice, tables, begin)
    return Hours(UNTIL, tables), UNTIL - DAYS * DAY + begin
