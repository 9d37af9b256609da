"""Demotions: what follows an alarm: the tier loses the task, somebody is told, and an eval is asked for."""

import asyncio
import logging
from typing import Any, Final

from evals.scorecards import ScorecardStore
from farthing.errors import LedgerUnavailable
from farthing.money import Nano, format_usd
from farthing.ports import Clock
from farthing.routing import Demotion
from gateway.alerts import Alerts
from gateway.livegrading import REVISION, Alarm
from gateway.periods import moment_of
from gateway.tasks import Background
from ledger.database import Database

_LOG: Final = logging.getLogger("farthing.live")
DAY_NS: Final = 86_400 * 10**9
OUT_NS: Final = DAY_NS
"""How long a tier whose answers got worse stays out, unless another suite or other deployments pass before: to try the
same again until it passes by luck is no evidence."""
_SAVED: Final = (
    "SELECT coalesce(sum(avoided_routing), 0), count(*) FROM records WHERE received_ns >= ? AND task = ? AND tier = ?"
)


class Demotions:
    """Acts on alarms; on the loop, and what takes time in the background."""

    def __init__(
        self,
        scorecards: ScorecardStore,
        database: Database,
        clock: Clock,
        background: Background,
        alerts: Alerts,
    ) -> None:
        self._scorecards, self._database, self._clock = scorecards, database, clock
        self._background, self._alerts = background, alerts

    def act(self, alarm: Alarm) -> None:
        """Take the task from the tier, unless it is the reference; in any case tell. Routes follow within a second, in
        every worker. Raises sqlite3.Error."""
        now_ns = self._clock.wall_ns()
        demotion = demotion_of(alarm, now_ns)
        if demotion is not None:
            self._scorecards.demote(demotion, asks=alarm.card is not None)  # without a pass there is none to win back
        _LOG.warning(
            "task %s, tier %s: %s; %s", alarm.task.name, alarm.tier, alarm.detail, _consequence(alarm, demotion)
        )
        self._background.spawn(self._tell(alarm, demotion, now_ns))

    async def _tell(self, alarm: Alarm, demotion: Demotion | None, now_ns: int) -> None:
        saved, calls = await asyncio.to_thread(self._last_day, alarm, now_ns)
        body = message(alarm, demotion, now_ns, saved=saved, calls=calls)
        self._alerts.post(body, f"task {alarm.task.name}, tier {alarm.tier}")

    def _last_day(self, alarm: Alarm, now_ns: int) -> tuple[int | None, int | None]:
        """What the tier saved at the task in the last 24 hours against the reference, nano-dollars, and its calls; None
        where the ledger cannot be asked."""
        try:
            with self._database.reading() as session:
                saved, calls = session.execute(_SAVED, (now_ns - DAY_NS, alarm.task.name, alarm.tier)).fetchone()
        except LedgerUnavailable:
            return None, None
        return int(saved), int(calls)


def demotion_of(alarm: Alarm, now_ns: int) -> Demotion | None:
    """The demotion that an alarm leads to; None for the reference, above which nobody is trusted. A tier that answers
    as another model than was tested may come back with the next pass, which is of that model. One without a pass has
    calls to lose, too: the first step of a cascade."""
    if alarm.tier == alarm.task.reference:
        return None
    is_revision, card = alarm.signal == REVISION, alarm.card
    return Demotion(
        task=alarm.task.name,
        tier=alarm.tier,
        at_ns=now_ns,
        until_ns=now_ns if is_revision else now_ns + OUT_NS,
        cause="fingerprint" if is_revision else "drift",
        detail=alarm.detail,
        suite_hash=card.suite_hash if card else "",
        models=card.models if card else (),
    )


def message(
    alarm: Alarm, demotion: Demotion | None, now_ns: int, *, saved: int | None = None, calls: int | None = None
) -> dict[str, Any]:
    """What a webhook gets; amounts are exact decimal texts."""
    return {
        "event": "tier_alarm" if demotion is None else "tier_demoted",
        "task": alarm.task.name,
        "tier": alarm.tier,
        "signal": alarm.signal,
        "detail": alarm.detail,
        "evidence": round(alarm.evidence, 1),
        "bound": round(alarm.bound, 4),
        "graded": alarm.graded,
        "reference": alarm.task.reference,
        "calls_last_24h": calls,
        "saved_usd_last_24h": None if saved is None else format_usd(Nano(saved)),
        "out_until": None if demotion is None else moment_of(demotion.until_ns).isoformat(),
        "todo": _todo(alarm, demotion),
        "time": moment_of(now_ns).isoformat(),
    }


def _todo(alarm: Alarm, demotion: Demotion | None) -> str:
    if demotion is None:
        return f"look at the answers of {alarm.tier}: it is the one that is trusted, so nobody answers in its place"
    if alarm.card is None:
        return f"{alarm.tier} had not passed {alarm.task.name}: until out_until it answers neither first nor besides"
    return (
        f"a run of the eval of {alarm.task.name} is asked for (farthing eval due shows it); what saved_usd_last_24h "
        f"says is lost for each day until {alarm.tier} passes again"
    )


def _consequence(alarm: Alarm, demotion: Demotion | None) -> str:
    if demotion is None:
        return "it is the reference, so routes stay as they are"
    if alarm.card is None:
        return "demoted, though it had no pass: it answers neither first nor besides for a day"
    return "demoted: its calls go one tier up until it has passed again; an eval run is asked for"
