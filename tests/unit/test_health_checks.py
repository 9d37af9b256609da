"""Health checks: what each answer to one means for the breakers of a provider's deployments."""

import asyncio
import logging
from dataclasses import dataclass, field
from types import MappingProxyType

import httpx
import pytest

from farthing.catalog import Catalog, Deployment, HealthCheck, Provider, Quirks, Tier
from gateway.balancing import Balancer
from gateway.healthchecks import HealthChecks, address_of
from ledger.testing import ManualClock
from router_policies.breaker import BreakerRules, Fault, State

CHECK = HealthCheck(path="models", every_s=10)


def provider(name: str, health: HealthCheck | None = CHECK) -> Provider:
    return Provider(name=name, adapter="openai", base_url=f"http://{name}/v1", api_key="sk-1", health=health)


def catalog(*providers: Provider) -> Catalog:
    places = tuple(Deployment(name="m", provider=one, model="m") for one in providers)
    return Catalog(
        tiers=(Tier(name="t", rank=0, deployments=places),),
        tasks=MappingProxyType({}),
        features=MappingProxyType({}),
        models=MappingProxyType({}),
        aliases=MappingProxyType({}),
        default_tier="t",
        fingerprint="f",
    )


@dataclass
class Ward:
    """Two providers, of which `a` is checked and `b` is not; `says` is what `a` answers: a status, or an error."""

    says: int | Exception = 200
    asked: list[httpx.Request] = field(default_factory=list)
    clock: ManualClock = field(default_factory=ManualClock)
    hang: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.balancer = Balancer(self.clock, BreakerRules(cooldown_s=30), 3)
        self.balancer.take_up(catalog(provider("a"), provider("b", None)))
        transport = httpx.MockTransport(self._answer)
        self.checks = HealthChecks(self.clock, self.balancer, lambda: httpx.AsyncClient(transport=transport))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.hang is not None:
            await self.hang.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return httpx.Response(self.says)

    async def check(self, *said: int | Exception) -> State:
        """One check with each of these answers, ten seconds apart; the state of `a` after the last."""
        for one in said:
            self.says = one
            self.clock.advance(10)
            self.checks.tick()
            await self.settled()
        return self.state("a")

    async def settled(self) -> None:
        """Wait for what was begun."""
        await self.checks._background.settle(5)

    def state(self, name: str) -> State:
        return self.balancer.lines[f"{name}/m"].breaker.state(self.clock.monotonic())


@pytest.fixture
async def ward():  # type: ignore[no-untyped-def]
    made = Ward()
    yield made
    await made.checks.close()


GONE = httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([200], State.CLOSED),
        ([500], State.CLOSED),
        ([500, 503], State.OPEN),
        ([500, 200, 500], State.CLOSED),
        ([401, 401], State.OPEN),
        ([GONE], State.OPEN),
        ([GONE, 200], State.CLOSED),
        ([httpx.ReadTimeout("slow")], State.OPEN),
        # what says nothing changes nothing
        ([404, 404], State.CLOSED),
        ([301, 301], State.CLOSED),
        ([429, 429], State.CLOSED),
        ([GONE, 404], State.OPEN),
        ([400], State.CLOSED),
        # it stays open for as long as the checks fail, without a call
        ([GONE, GONE, GONE, GONE, GONE, GONE], State.OPEN),
    ],
)
async def test_an_answer_opens_or_closes_the_breakers_of_its_provider(
    ward: Ward, said: list[int | Exception], state: State
) -> None:
    found = await ward.check(*said)

    assert (found, ward.state("b")) == (state, State.CLOSED)


async def test_a_check_asks_for_the_path_with_the_key_and_nobody_else(ward: Ward) -> None:
    await ward.check(200, 200)

    assert [str(request.url) for request in ward.asked] == ["http://a/v1/models"] * 2
    assert {request.method for request in ward.asked} == {"GET"}
    assert ward.asked[0].headers["authorization"] == "Bearer sk-1"


async def test_checks_are_as_seldom_as_asked_for_and_never_two_at_a_time(ward: Ward) -> None:
    ward.hang = asyncio.Event()
    ward.checks.tick()
    for _ in range(5):
        ward.clock.advance(10)
        ward.checks.tick()
    ward.hang.set()
    await ward.settled()
    while_one_ran = len(ward.asked)

    ward.checks.tick()
    await ward.settled()
    ward.clock.advance(9)
    ward.checks.tick()
    await ward.settled()

    assert (while_one_ran, len(ward.asked)) == (1, 2)


async def test_a_check_does_not_close_what_calls_have_opened(ward: Ward) -> None:
    breaker = ward.balancer.lines["a/m"].breaker
    breaker.failed(breaker.enter(ward.clock.monotonic()), Fault.REFUSED, ward.clock.monotonic())

    assert await ward.check(200) is State.OPEN


async def test_a_path_that_does_not_exist_is_told_once(ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "farthing.deployments"):
        await ward.check(404, 404, 404)

    (line,) = caplog.records
    assert "correct `health.path`" in line.message


async def test_a_failing_server_is_told_once_and_again_when_it_is_back(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "farthing.deployments"):
        await ward.check(GONE, GONE, GONE, GONE, 200)

    assert [record.message.partition(" is left")[0] for record in caplog.records] == [
        "deployment a/m",
        "deployment a/m answers again",
    ]


async def test_a_reload_that_takes_the_check_away_ends_it(ward: Ward) -> None:
    ward.balancer.take_up(catalog(provider("a", None), provider("b", None)))

    await ward.check(200)

    assert ward.asked == []


async def test_closing_stops_a_check_that_hangs(ward: Ward) -> None:
    ward.hang = asyncio.Event()
    ward.checks.tick()

    await ward.checks.close()

    assert ward.state("a") is State.CLOSED


@pytest.mark.parametrize(
    ("base_url", "quirks", "path", "address"),
    [
        ("http://a/v1", Quirks(), "models", "http://a/v1/models"),
        ("http://a:8/v1/", Quirks(), "/health", "http://a:8/health"),
        ("https://a", Quirks(query="api-version=1"), "models", "https://a/models?api-version=1"),
        ("https://a/x", Quirks(path_prefix="openai/v1"), "models", "https://a/x/openai/v1/models"),
    ],
)
def test_the_path_is_below_the_base_url_or_the_root(base_url: str, quirks: Quirks, path: str, address: str) -> None:
    one = Provider(name="a", adapter="openai", base_url=base_url, quirks=quirks)

    assert address_of(one, HealthCheck(path=path, every_s=1)) == address
