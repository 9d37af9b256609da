"""A gateway's admin side over a real ledger, for the tests of the admin API and the pages."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from farthing.catalog import Budget, Right, VirtualKey, Window
from farthing.errors import AuthenticationError
from farthing.hold import Intent
from farthing.money import Nano, nano_from_usd
from farthing.record import Attempt, CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.admin import AdminView, MetricsAccess, Problem, admin_app
from gateway.cachebooks import Caching, SemanticFigures
from gateway.explaindesk import ExplainDesk
from ledger.budgets import accounts
from tests.ledgers import Engine, SQLiteEngine

NOW_NS = 1_795_000_000 * 10**9
"""2026-11-18, in the middle of a month."""
ADMIN_SECRET = "fk-admin-secret"
CALLER_SECRET = "fk-caller-secret"


class SetClock:
    """A clock that a test sets."""

    def __init__(self, now_ns: int = NOW_NS) -> None:
        self.now_ns = now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.now_ns / 1e9


def make_key(id_: str, secret: str, *rights: Right) -> VirtualKey:
    digest = hashlib.sha256(secret.encode()).digest()
    return VirtualKey(id=id_, sha256=digest, tenant="acme", rights=frozenset(rights))


@dataclass(kw_only=True)
class Installation:
    """What the wiring would provide, with parts that tests change."""

    engine: Engine
    clock: SetClock = field(default_factory=SetClock)
    access: MetricsAccess = MetricsAccess.LOOPBACK
    problems: Sequence[Problem] = ()
    budgets: Sequence[Budget] = ()
    semantic: SemanticFigures = field(default_factory=SemanticFigures)
    caching: Mapping[str, Caching] = field(default_factory=dict)
    explain: ExplainDesk | None = None
    keys: dict[str, VirtualKey] = field(
        default_factory=lambda: {
            "boss": make_key("boss", ADMIN_SECRET, Right.ADMIN),
            "app": make_key("app", CALLER_SECRET, Right.CALL),
        }
    )

    def authenticate(self, secret: bytes) -> VirtualKey:
        digest = hashlib.sha256(secret).digest()
        for key in self.keys.values():
            if key.sha256 == digest:
                return key
        raise AuthenticationError

    def view(self) -> AdminView:
        return AdminView(
            clock=self.clock,
            secret=b"0123456789abcdef",
            database=self.engine.database,
            authenticate=self.authenticate,
            find_key=self.keys.get,
            metrics_access=lambda: self.access,
            render_metrics=lambda: b"farthing_config_ok 1\n",
            problems=lambda: self.problems,
            budgets=lambda: self.budgets,
            semantic=lambda: self.semantic,
            caching=lambda: self.caching,
            explain=self.explain,
        )

    def client(self, peer: str = "127.0.0.1", key: str = "") -> httpx.AsyncClient:
        """A client whose connection comes from `peer`, with a bearer key if one is given."""
        transport = httpx.ASGITransport(admin_app(self.view()), client=(peer, 50_000))
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(transport=transport, base_url="http://gateway.test", headers=headers)


MONTHLY = Budget(id="search-month", limit=nano_from_usd("10"), window=Window.MONTH, where=(("feature", "search"),))
EACH_RUN = Budget(id="agent-run", limit=nano_from_usd("1"), window=Window.RUN, per=("run",))


def make_record(id_: str, **changes: object) -> Record:
    values: dict[str, object] = {
        "id": id_,
        "tags": Tags(tenant="acme", key_id="app", feature="search", task="faq"),
        "endpoint": "chat/completions",
        "stream": False,
        "received_ns": NOW_NS - 60 * 10**9,
        "outcome": Outcome.SUCCESS,
        "status": 200,
        "model_requested": "auto",
        "model_served": "smol",
        "provider": "local",
        "deployment": "local/smol",
        "tier": "small",
        "reference_tier": "large",
        "policy": "cheapest_passing",
        "route_reason": "small passed faq with 0.94 over 0.90",
        "task_source": "feature",
        "cache": CacheOutcome.MISS,
        "usage": Usage(input_uncached=1000, output=200),
        "cost": Nano(2_000_000),
        "avoided_routing": Nano(5_000_000),
        "rates": '{"input_uncached": 1000000000, "output": 5000000000}',
        "price_version": "2026-11-01",
        "seconds": 0.4,
        "first_byte_seconds": 0.1,
        "attempts": (Attempt(deployment="local/smol", status=200, error="", seconds=0.4),),
    }
    return Record(**(values | changes))  # type: ignore[arg-type]


HIT = {
    "outcome": Outcome.HIT,
    "cache": CacheOutcome.EXACT,
    "cost": Nano(0),
    "avoided_cache": Nano(2_000_000),
    "avoided_routing": Nano(0),
    "attempts": (),
    "rates": "{}",
}


async def write_ledger(path: Path, records: Sequence[Record], budgets: Sequence[Budget] = ()) -> None:
    """A ledger file with these records, each drawn from the accounts of the budgets."""
    await write_books(SQLiteEngine(path), records, budgets)


async def write_books(engine: Engine, records: Sequence[Record], budgets: Sequence[Budget] = ()) -> None:
    """The same in a ledger of any engine."""
    ledger = await engine.open(SetClock())
    for record in records:
        drawn = accounts(budgets, record.tags, record.received_ns)
        hold = await ledger.reserve(
            Intent(
                id=record.id,
                amount=record.cost,
                accounts=drawn,
                expires_ns=NOW_NS + 10**12,
                draft=record,
            )
        )
        await ledger.settle(hold, record)
    await ledger.close()
