"""AdminView: all that the admin API and the pages may know of a running gateway; the wiring fills it in."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from farthing.catalog import Budget, VirtualKey
from farthing.ports import Clock
from gateway.cachebooks import Caching, SemanticFigures
from gateway.cachedesk import CacheDesk
from gateway.chargesapi import ChargeDesk
from gateway.explaindesk import ExplainDesk
from gateway.promptbook import CountedPrompt
from gateway.settings.values import MetricsAccess
from ledger.database import Database

__all__ = ["AdminView", "MetricsAccess", "Problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong. `reason` is a word for everybody (`ledger`, `config`), `detail` a sentence for admins.

    `blocking`: the gateway cannot serve, so it is not ready; otherwise it is only reported.
    """

    reason: str
    detail: str
    blocking: bool = True


async def _nothing_to_do() -> None:
    """Where nobody keeps amendments in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminView:
    """Callables are asked at each request, so that a reload shows at once.

    `secret` is the installation's secret (any length from 16 bytes). `authenticate` takes the key as sent and
    raises AuthenticationError; `find_key` gives the key of an id in the present configuration. `problems` and
    `render_metrics` may block: they run in a thread. `features` are those that are registered. `on_amended` is called
    after a raise or a run has been changed, in the loop. Without `charges` no external usage events are taken,
    without `caches` none are shown, without `explain` nothing is explained. `semantic` reads what the semantic cache
    publishes, and may block; `caching` tells what each feature uses.
    """

    clock: Clock
    secret: bytes = field(repr=False)
    database: Database
    authenticate: Callable[[bytes], VirtualKey]
    find_key: Callable[[str], VirtualKey | None]
    metrics_access: Callable[[], MetricsAccess]
    render_metrics: Callable[[], bytes]
    problems: Callable[[], Sequence[Problem]]
    budgets: Callable[[], Sequence[Budget]]
    charges: ChargeDesk | None = None
    caches: CacheDesk | None = None
    explain: ExplainDesk | None = None
    features: Callable[[], Collection[str]] = tuple
    semantic: Callable[[], SemanticFigures] = SemanticFigures
    caching: Callable[[], Mapping[str, Caching]] = dict
    prompts: Callable[[], Sequence[CountedPrompt]] = tuple
    on_amended: Callable[[], Awaitable[None]] = _nothing_to_do
