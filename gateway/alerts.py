"""Alerts: a threshold that a budget has reached is told once, in the log, in a metric and to a webhook."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import httpx

from farthing.catalog import Threshold
from farthing.errors import LedgerUnavailable
from farthing.hold import Account
from farthing.money import format_usd
from farthing.ports import Clock
from gateway.periods import moment_of
from gateway.settings import AlertSettings
from gateway.tasks import Background
from ledger import notices
from ledger.database import Database

_LOG: Final = logging.getLogger("farthing.alerts")
PAUSES_S: Final = (0.5, 2.0)
"""Seconds before the second and the third try of a webhook."""


class Alerts:
    """Tells of thresholds off the path of every call; a failure to tell fails nothing else.

    Each threshold of an account is told once in its window, whichever workers see it: who writes it down first tells.
    It is written down before it is told, so a webhook that cannot be reached loses its message. `on_told` is given the
    feature of the account's scope, empty if it has none.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        background: Background,
        settings: Callable[[], AlertSettings],
        on_told: Callable[[str], None],
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._database, self._clock, self._background = database, clock, background
        self._settings, self._on_told, self._pauses_s = settings, on_told, pauses_s

    def tell(self, account: Account, threshold: Threshold, used: int) -> None:
        """Tell of it if nobody has. Returns at once."""
        self._background.spawn(self._tell(account, threshold, used))

    async def _tell(self, account: Account, threshold: Threshold, used: int) -> None:
        now_ns, name = self._clock.wall_ns(), f"{threshold.at} {threshold.do.value}"
        try:
            mine = await asyncio.to_thread(notices.claim, self._database, account.id, name, now_ns=now_ns)
        except LedgerUnavailable as error:
            _LOG.error("budget %s (%s) reached %s: %s", account.budget, account.scope, threshold.percent, error.message)
            return
        if not mine:
            return
        _LOG.warning(
            "budget %s (%s, per %s) reached %s: %s of %s USD; %s",
            *(account.budget, account.scope, account.window, threshold.percent),
            *(format_usd(used), format_usd(account.limit), threshold.do.value),
        )
        self._on_told(feature_of(account))
        await self._post(message(account, threshold, used, now_ns), f"budget {account.budget}")

    def post(self, body: dict[str, Any], about: str) -> None:
        """Tell the webhook, if there is one, of something that is in the log already; `about` names it there should the
        webhook not take it. Returns at once."""
        self._background.spawn(self._post(body, about))

    async def _post(self, body: dict[str, Any], about: str) -> None:
        settings = self._settings()
        if not settings.webhook_url:
            return
        # Reading the trusted authorities takes some 20 ms of CPU: not for the loop.
        client = await asyncio.to_thread(httpx.AsyncClient, timeout=settings.timeout_s, trust_env=False)
        async with client:
            for pause in (*self._pauses_s, None):
                problem = await _try(client, settings.webhook_url, body)
                if not problem:
                    return
                if pause is not None:
                    await asyncio.sleep(pause)
        _LOG.error("the alert on %s did not reach the webhook: %s", about, problem)


async def _try(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> str:
    """Empty if it was taken, else the problem, without the address: that may hold a secret."""
    try:
        response = await client.post(url, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
    return "" if response.is_success else f"status {response.status_code}"


def feature_of(account: Account) -> str:
    """The feature in the account's scope, empty if it has none."""
    pairs = (pair.partition("=") for pair in account.scope.split(","))
    return next((value for name, _, value in pairs if name == "feature"), "")


def message(account: Account, threshold: Threshold, used: int, now_ns: int) -> dict[str, Any]:
    """What a webhook gets; amounts are exact decimal texts."""
    return {
        "event": "budget_threshold",
        "budget": account.budget,
        "scope": account.scope,
        "window": account.window,
        "at": f"{threshold.at:f}",
        "do": threshold.do.value,
        "used_usd": format_usd(used),
        "limit_usd": format_usd(account.limit),
        "resets_at": account.resets_at,
        "time": moment_of(now_ns).isoformat(),
    }
