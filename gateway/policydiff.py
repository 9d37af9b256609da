"""Policy diff: the same calls through two configurations: cost, mix, changed routes, and what may go wrong."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from farthing.catalog import Deployment
from farthing.errors import UnpricedModel
from farthing.money import ZERO, Nano
from farthing.record import Record
from farthing.routing import Scorecard
from farthing.usage import TOKEN_CLASSES
from gateway.alternatives import PriceOf, mean_cost, price_at
from gateway.sides import Landing, Side, is_replayed
from ledger.adjustments import upstream_seconds
from ledger.price import Price
from router_policies.standing import card_of


@dataclass(slots=True)
class Sums:
    """Calls: how many, those of them that a cache answered, and what the others cost on the old and on the new side,
    nano-dollars. Of a cascade that is the first answer; `old_more` and `new_more` are what second ones would add if
    every first one failed its check. `unpriced` calls are in no cost: no tokens are known, or no price on one side."""

    requests: int = 0
    hits: int = 0
    old: int = 0
    new: int = 0
    old_more: int = 0
    new_more: int = 0
    unpriced: int = 0

    def add(self, other: "Sums") -> None:
        """Count the other's calls too."""
        for name in Sums.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def delta(self) -> Nano:
        """What the new side costs more, nano-dollars."""
        return Nano(self.new - self.old)

    @property
    def answered(self) -> int:
        """Calls that a model answers on one of the sides: all but hits."""
        return self.requests - self.hits


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The calls of a feature that go the same way on both sides."""

    feature: str
    old: Landing
    new: Landing
    sums: Sums

    @property
    def has_moved(self) -> bool:
        """True where tier, model or task differ."""
        return (self.old.label, self.old.task) != (self.new.label, self.new.task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """An expected change of the score in [-1, 1], with an interval that holds at 95 % for each of the scores in it."""

    change: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The mean change of the score over all calls that a model answers, hits left out: those that do not move count as
    no change. `unknown` calls move between tiers that no scorecard compares, and are not in it."""

    shift: Shift
    moved: int
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """Something that may go wrong: `kind` is `unproven`, `refused`, `failover` or `vanished`; `what` a phrase, and
    `requests` how many of the calls it concerns."""

    kind: str
    what: str
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDiff:
    """The comparison. `groups` by the size of their cost difference; `mix` by label."""

    groups: tuple[Group, ...]
    total: Sums
    mix: Mapping[str, "MixLine"]
    quality: Quality
    risks: tuple[Risk, ...]
    told_by_body: int
    refused_by_both: int

    @property
    def moved(self) -> tuple[Group, ...]:
        """The routes that changed."""
        return tuple(group for group in self.groups if group.has_moved)


@dataclass(slots=True)
class MixLine:
    """Calls that a model answers, hits left out, and their cost, for one label on each side."""

    old_requests: int = 0
    new_requests: int = 0
    old: int = 0
    new: int = 0


@dataclass(slots=True)
class Comparison:
    """Takes rows one by one; memory is bounded by features, tasks and tiers, not by rows."""

    old: Side
    new: Side
    now_ns: int
    passed_over: int = 0
    """Calls that were never sent, and the gateway's own."""
    _sums: dict[tuple[str, Landing, Landing], Sums] = field(default_factory=dict)

    def see(self, record: Record) -> None:
        """One row of the ledger."""
        if not is_replayed(record):
            self.passed_over += 1
            return
        old, new = self.old.land(record), self.new.land(record)
        sums = self._sums.setdefault((record.tags.feature, old, new), Sums())
        sums.add(self._priced(record, old, new))

    def _priced(self, record: Record, old: Landing, new: Landing) -> Sums:
        if record.cache.is_hit:
            return Sums(requests=1, hits=1)
        if not any(getattr(record.usage, name) for name in TOKEN_CLASSES):
            return Sums(requests=1, unpriced=int(bool(record.cost)))
        costs = [self._cost(record, places) for side in (old, new) for places in (side.places, side.behind)]
        if None in costs:
            return Sums(requests=1, unpriced=1)
        first_old, more_old, first_new, more_new = (cost or 0 for cost in costs)
        return Sums(requests=1, old=first_old, old_more=more_old, new=first_new, new_more=more_new)

    def _cost(self, record: Record, places: Sequence[Deployment]) -> Nano | None:
        """Nothing at nobody, as where a call is refused."""
        if not places:
            return ZERO
        extras = [(extra.name, extra.quantity) for extra in record.extras if extra.name not in TOKEN_CLASSES]
        cost = partial(price_at, usage=record.usage, extras=extras, seconds=upstream_seconds(record))
        return mean_cost(places, self._price_of(), cost)

    def _price_of(self) -> PriceOf:
        """One price book for both sides, so that a difference is that of routes: the new one's, and the old one's for
        what only that can price."""

        def price(place: Deployment) -> Price:
            try:
                return self.new.generation.pricing.price(place, self.now_ns)
            except UnpricedModel:
                return self.old.generation.pricing.price(place, self.now_ns)

        return price

    def result(self, vanished: Iterable[str]) -> PolicyDiff:
        """What all rows together come to. `vanished` is what the new configuration has no more."""
        groups = [
            Group(feature=feature, old=old, new=new, sums=sums) for (feature, old, new), sums in self._sums.items()
        ]
        groups.sort(key=lambda one: (-abs(one.sums.delta), -one.sums.requests, one.feature, one.old.task, one.new.task))
        total = Sums()
        for group in groups:
            total.add(group.sums)
        return PolicyDiff(
            groups=tuple(groups),
            total=total,
            mix=_mix(groups),
            quality=_quality(groups, self.new),
            risks=(*_risks(groups), *(Risk(kind="vanished", what=what, requests=0) for what in vanished)),
            told_by_body=_count(groups, lambda one: one.new.is_told_by_body),
            refused_by_both=_count(groups, lambda one: one.old.is_refused and one.new.is_refused),
        )


def _count(groups: Iterable[Group], holds: Callable[[Group], bool]) -> int:
    return sum(group.sums.requests for group in groups if holds(group))


def _mix(groups: Iterable[Group]) -> dict[str, MixLine]:
    lines: dict[str, MixLine] = {}
    for group in groups:
        old = lines.setdefault(group.old.label, MixLine())
        old.old_requests, old.old = old.old_requests + group.sums.answered, old.old + group.sums.old
        new = lines.setdefault(group.new.label, MixLine())
        new.new_requests, new.new = new.new_requests + group.sums.answered, new.new + group.sums.new
    return dict(sorted(lines.items(), key=lambda line: -max(line[1].old_requests, line[1].new_requests)))


# --- quality -------------------------------------------------------------------------------------


def _quality(groups: Iterable[Group], side: Side) -> Quality:
    """Weighted by calls. The interval adds up those of the groups, as if all erred to the same side."""
    change = low = high = 0.0
    everybody = moved = unknown = 0
    for group in groups:
        count = group.sums.answered
        everybody += count
        if not count or group.old.label == group.new.label or group.old.is_refused or group.new.is_refused:
            continue
        moved += count
        shift = shift_of(group, side)
        if shift is None:
            unknown += count
        else:
            change, low, high = change + count * shift.change, low + count * shift.low, high + count * shift.high
    known = max(everybody - unknown, 1)
    return Quality(shift=Shift(change=change / known, low=low / known, high=high / known), moved=moved, unknown=unknown)


def shift_of(group: Group, side: Side) -> Shift | None:
    """By how much the score of a group's calls is expected to change; None where no two scorecards of one suite tell,
    and of a cascade, whose answers are of both tiers.

    The paired difference where one of the tiers was the other's reference, else that of their scores; the interval is
    that of unpaired scores, which is the wider one.
    """
    feature = side.generation.feature(group.feature)
    task = side.generation.catalog.tasks.get(group.new.task)
    if task is None or not (group.old.tier and group.new.tier) or group.old.behind or group.new.behind:
        return None
    cards = side.generation.destinations.question(feature, task).scorecards
    old, new = card_of(cards, task.name, group.old.tier), card_of(cards, task.name, group.new.tier)
    if old is None or new is None or old.suite_hash != new.suite_hash:
        return None
    change = _difference(old, new)
    return Shift(change=change, low=min(new.low - old.high, change), high=max(new.high - old.low, change))


def _difference(old: Scorecard, new: Scorecard) -> float:
    if new.difference is not None and new.reference == old.tier:
        return new.difference
    if old.difference is not None and old.reference == new.tier:
        return -old.difference
    return new.score - old.score


# --- risks ---------------------------------------------------------------------------------------


def _risks(groups: Iterable[Group]) -> list[Risk]:
    """What is worse than it was, by kind and by what it concerns; the most calls first."""
    found: dict[tuple[str, str], int] = {}
    for group in groups:
        for kind, what in _worse(group):
            found[kind, what] = found.get((kind, what), 0) + group.sums.requests
    risks = [Risk(kind=kind, what=what, requests=count) for (kind, what), count in found.items()]
    return sorted(risks, key=lambda one: (-one.requests, one.kind, one.what))


def _worse(group: Group) -> Iterable[tuple[str, str]]:
    old, new = group.old, group.new
    if new.is_refused:
        if not old.is_refused:
            yield "refused", new.why
        return
    where = f"{group.feature}, task {new.task or '(none)'}"
    if new.is_unproven and not (old.is_unproven and old.label == new.label):
        yield "unproven", f"{where}: to {new.label}, which has no valid pass for it"
    if old.reach > 1 and new.reach == 1:
        yield "failover", f"{where}: {new.label} has one deployment, {old.label} had {old.reach}"
