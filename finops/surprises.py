"""Surprises: the ways in which AI spend runs away, each a pure function from hours to findings.

A detector looks at hours that end now and says nothing where it has seen too little. Thresholds were chosen on
made-up traffic (`bench.surprises`), which docs/alerts.md describes with what was measured.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from farthing.money import NANO_PER_USD, Nano
from finops.anomaly import SIGMA_OF_MAD, Floats
from finops.findings import Finding, What, budget, feature_setting
from finops.hours import DAY, WEEK, Columns, Hours, days, share
from finops.patterns import evals_on_every_commit, forgotten_schedules, left_on
from finops.watch import Watch

RAMP_TIMES: Final = 3.0
RAMP_HOURS: Final = 2
RAMP_LEAST: Final = 1.0 * NANO_PER_USD
"""Nano-dollars an hour beyond what is usual."""
PROMPT_TIMES: Final = 1.2
PROMPT_DAYS: Final = 3
PROMPT_LEAST: Final = 1.0 * NANO_PER_USD
"""Nano-dollars a day."""
LEAST_CALLS: Final = 50
HIT_HOURS: Final = 6
HIT_Z: Final = 5.0
HIT_DROP: Final = 0.25
RETRY_SHARE: Final = 0.5
RETRY_TIMES: Final = 5.0
CORPUS_SHARE: Final = 0.05
CORPUS_TIMES: Final = 5.0
PRICE_SHIFT: Final = 0.03
PRICE_HOURS: Final = 2
PRICE_FIT: Final = 0.01


def ramps(hours: Hours, watch: Watch) -> list[Finding]:
    """A feature is asked at least three times as often as at this hour of the week, two hours in a row."""
    found = []
    for (feature, environment), columns in hours.by("feature", "environment").items():
        if environment in watch.ci or feature in watch.evals or columns["inputs"].any():
            continue
        if len(columns) >= 2 * WEEK + RAMP_HOURS and (finding := _ramp(columns, hours.until, feature, environment)):
            found.append(finding)
    return found


def _ramp(columns: Columns, until: int, feature: str, environment: str) -> Finding | None:
    requests, cost = columns["requests"], columns["cost"]
    usual = _same_hours(requests, RAMP_HOURS)
    floor = 0.25 * requests[-WEEK - RAMP_HOURS : -RAMP_HOURS].mean()
    ratios = requests[-RAMP_HOURS:] / np.maximum(usual, max(floor, 1.0))
    extra = float((cost[-RAMP_HOURS:] - _same_hours(cost, RAMP_HOURS)).mean())
    if ratios.min() < RAMP_TIMES or extra < RAMP_LEAST:
        return None
    return Finding(
        what=What.RAMP,
        feature=feature,
        environment=environment,
        since=until - RAMP_HOURS,
        per_day=Nano(round(extra * DAY)),
        cause=f"{ratios[-1]:.1f} times the calls that are usual at this hour of the week",
        yaml=budget(_usual_day(cost), feature=feature, environment=environment),
    )


def prompt_growth(hours: Hours, watch: Watch) -> list[Finding]:
    """For three days calls have had 20 % more input tokens than two to four weeks ago, and cost more for it."""
    found = []
    for (feature, task, model), columns in hours.by("feature", "task", "model").items():
        calls, tokens, cost = (days(part) for part in (columns.sent, columns["input_tokens"], columns["cost"]))
        if len(calls) < 3 * 7 or feature in watch.evals:
            continue
        before = _where_asked(share(tokens, calls)[-28:-14], calls[-28:-14])
        paid = _where_asked(share(cost, calls)[-28:-14], calls[-28:-14])
        recent, asked = share(tokens, calls)[-PROMPT_DAYS:], calls[-PROMPT_DAYS:]
        if not before or asked.min() < LEAST_CALLS or recent.min() < PROMPT_TIMES * before:
            continue
        extra = float((cost[-PROMPT_DAYS:] - paid * asked).mean())
        if extra >= PROMPT_LEAST:
            found.append(
                Finding(
                    what=What.PROMPT_GROWTH,
                    feature=feature,
                    task=task,
                    model=model,
                    since=hours.until - PROMPT_DAYS * DAY,
                    per_day=Nano(round(extra)),
                    cause=f"{recent[-1]:.0f} input tokens a call, {before:.0f} some weeks ago",
                    yaml=feature_setting(feature, "prompt_cache: auto"),
                )
            )
    return found


def falling_hit_rates(hours: Hours, _watch: Watch) -> list[Finding]:
    """The answer caches of a feature hit a quarter less often in six hours than in those six of the last 14 days."""
    found = []
    for (feature,), columns in hours.by("feature").items():
        hits, misses = columns["hits"], columns["misses"]
        if len(columns) < 8 * DAY:
            continue
        back = range(min(14, len(columns) // DAY - 1))
        windows = [
            slice(len(hits) - day * DAY - HIT_HOURS, len(hits) - day * DAY) for day in (0, *(d + 1 for d in back))
        ]
        hit, asked = (np.array([part[window].sum() for window in windows]) for part in (hits, hits + misses))
        rates = share(hit, asked)
        if min(asked[0], np.median(asked[1:])) < 2 * LEAST_CALLS:
            continue
        usual = float(np.median(rates[1:]))
        sigma = max(SIGMA_OF_MAD * float(np.median(np.abs(rates[1:] - usual))), np.sqrt(0.25 / asked[0]), 0.01)
        lost = usual - float(rates[0])
        if lost < max(HIT_DROP * usual, HIT_Z * sigma):
            continue
        missed = columns["cost"][-DAY:].sum() / max(misses[-DAY:].sum(), 1.0)
        found.append(
            Finding(
                what=What.HIT_RATE,
                feature=feature,
                since=hours.until - HIT_HOURS,
                per_day=Nano(round(lost * asked[0] * DAY / HIT_HOURS * missed)),
                cause=f"{rates[0]:.0%} of lookups hit, {usual:.0%} are usual: is there a time or an id in prompts?",
                yaml=feature_setting(feature, "cache: {semantic: true}"),
            )
        )
    return found


def retry_storms(hours: Hours, _watch: Watch) -> list[Finding]:
    """In the last hour a feature's calls needed half as many tries again, or failed, five times the usual share."""
    found = []
    for (feature,), columns in hours.by("feature").items():
        sent = columns.sent
        wasted = np.maximum(columns["attempts"] - sent, 0) + columns["failed"]
        if len(columns) < 2 * DAY or wasted[-1] < LEAST_CALLS:
            continue
        rates = share(wasted, sent)
        usual = float(np.median(rates[-7 * DAY : -1][sent[-7 * DAY : -1] > 0])) if sent[-7 * DAY : -1].any() else 0.0
        if rates[-1] < max(RETRY_SHARE, RETRY_TIMES * usual):
            continue
        paid = columns["cost"][-1] * wasted[-1] / max(columns["attempts"][-1], 1.0)
        found.append(
            Finding(
                what=What.RETRIES,
                feature=feature,
                since=hours.until - 1,
                per_day=Nano(round(min(paid, columns["cost"][-1]) * DAY)),
                cause=f"{wasted[-1]:.0f} tries failed for {sent[-1]:.0f} calls; {usual:.0%} are usual",
                yaml="upstream: {max_attempts: 1}",
            )
        )
    return found


def re_embeddings(hours: Hours, watch: Watch) -> list[Finding]:
    """A model that is new to a feature has embedded 5 % of its corpus already, much faster than texts are added."""
    groups = hours.by("feature", "model")
    found = []
    for (feature, model), columns in groups.items():
        sent = columns["inputs"]
        began = int(np.flatnonzero(sent)[0]) if sent.any() else 0
        others = sum((c["inputs"] for (f, m), c in groups.items() if f == feature and m != model), np.zeros(len(sent)))
        if began < WEEK or began < len(sent) - 2 * WEEK or not others[:began].any():
            continue
        corpus = watch.corpora.get(feature) or float(others.sum())
        rate, usual = float(sent[-3:].mean()), float(others[max(began - 4 * WEEK, 0) : began].mean())
        if sent.sum() >= CORPUS_SHARE * corpus and rate >= CORPUS_TIMES * usual:
            cost = columns["cost"]
            found.append(
                Finding(
                    what=What.RE_EMBEDDING,
                    feature=feature,
                    model=model,
                    since=hours.until - len(sent) + began,
                    per_day=Nano(round(float(cost[-3:].mean()) * DAY)),
                    cause=f"{sent.sum():.0f} texts went to {model}, which is new; about {corpus:.0f} had been embedded",
                    yaml=budget(_usual_day(sum_of(groups, feature)[: len(cost)]), feature=feature),
                )
            )
    return found


def sum_of(groups: Mapping[tuple[str, ...], Columns], feature: str) -> Floats:
    """The cost of a feature, by hour."""
    return np.asarray(sum(columns["cost"] for (name, *_), columns in groups.items() if name == feature))


def price_changes(hours: Hours, _watch: Watch) -> list[Finding]:
    """For two hours the tokens of a model have cost 3 % more or less than by the rates of last week."""
    found = []
    for (model,), columns in hours.by("model").items():
        if len(columns) < WEEK + DAY or columns["requests"][-PRICE_HOURS:].min() < LEAST_CALLS:
            continue
        ratios = _against_rates(columns)
        if ratios is None:
            continue
        shift = float(np.median(ratios)) - 1
        if np.abs(ratios - 1).min() < PRICE_SHIFT or (np.sign(ratios - 1) != np.sign(shift)).any():
            continue
        cost = columns["cost"]
        dearest = max(
            ((f, float(c["cost"][-DAY:].sum())) for (f, m), c in hours.by("feature", "model").items() if m == model),
            key=lambda pair: pair[1],
        )[0]
        found.append(
            Finding(
                what=What.PRICE,
                feature=dearest,
                model=model,
                since=hours.until - PRICE_HOURS,
                per_day=Nano(round(_usual_day(cost) * shift)),
                cause=f"the tokens of {model} cost {shift:+.0%} against the rates of last week",
                yaml=budget(_usual_day(sum_of(hours.by("feature"), dearest)), feature=dearest),
            )
        )
    return found


def _against_rates(columns: Columns) -> Floats | None:
    """What the last hours cost over what they would have by rates fitted to the week that ended a day ago; None for
    no good fit."""
    names = ("input_tokens", "cached_tokens", "output_tokens")
    tokens = np.stack([columns[name] for name in names], axis=1)
    cost, past = columns["cost"], slice(-WEEK - DAY, -DAY)
    used = tokens[past].sum(axis=0) > 0
    busy = cost[past] > 0
    if busy.sum() < DAY or not used.any():
        return None
    scale = tokens[past].mean(axis=0)[used]
    known, paid = tokens[past][busy][:, used] / scale, cost[past][busy]
    # Each hour counts alike, and not by its size.
    rates = np.linalg.lstsq(known / paid[:, None], np.ones(len(paid)), rcond=1e-9)[0]
    if SIGMA_OF_MAD * float(np.median(np.abs(known @ rates / paid - 1))) > PRICE_FIT:
        return None
    told = tokens[-PRICE_HOURS:][:, used] / scale @ rates
    return np.asarray(cost[-PRICE_HOURS:] / told) if (told > 0).all() else None


def _same_hours(values: Floats, count: int) -> Floats:
    """The median of the last `count` hours' hours of the week, in up to four weeks before."""
    weeks = min(4, (len(values) - count) // WEEK)
    past = [values[len(values) - count - back * WEEK : len(values) - back * WEEK] for back in range(1, weeks + 1)]
    return np.asarray(np.median(past, axis=0))


def _usual_day(cost: Floats) -> float:
    """Nano-dollars: the median of the days before the last, up to two weeks of them."""
    sums = days(cost)[-15:-1]
    return float(np.median(sums)) if len(sums) else 0.0


def _where_asked(values: Floats, calls: Floats) -> float:
    """The median over days with enough calls to tell; 0 for fewer than four."""
    kept = values[calls >= LEAST_CALLS]
    return float(np.median(kept)) if len(kept) >= 4 else 0.0


Detector = Callable[[Hours, Watch], list[Finding]]
DETECTORS: Final[Mapping[What, Detector]] = {
    What.RAMP: ramps,
    What.EVALS: evals_on_every_commit,
    What.LEFT_ON: left_on,
    What.SCHEDULE: forgotten_schedules,
    What.RE_EMBEDDING: re_embeddings,
    What.PROMPT_GROWTH: prompt_growth,
    What.HIT_RATE: falling_hit_rates,
    What.RETRIES: retry_storms,
    What.PRICE: price_changes,
}


def surprises(hours: Hours, watch: Watch) -> list[Finding]:
    """All that is to be told at the end of these hours, dearest first."""
    found = [finding for detector in DETECTORS.values() for finding in detector(hours, watch)]
    return sorted(found, key=lambda finding: -finding.per_day)
