"""The dashboard: login, figures equal to the ledger's, and pages that nothing hostile can use."""

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape

import httpx
import pytest

from cache.published import DomainState, State, semantic_report
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome
from farthing.tags import Tags
from gateway.admin import Problem
from gateway.cachebooks import Caching, SemanticFigures
from gateway.pages.render import percent, usd
from ledger import raises
from ledger.amendments import Raise
from tests.http.admin_setup import (
    ADMIN_SECRET,
    CALLER_SECRET,
    EACH_RUN,
    HIT,
    MONTHLY,
    NOW_NS,
    Installation,
    make_key,
    make_record,
    write_books,
)
from tests.ledgers import Engine


@pytest.fixture
def installation(engine: Engine) -> Installation:
    return Installation(engine=engine, budgets=[MONTHLY, EACH_RUN])


@pytest.fixture
async def browser(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    async with installation.client() as client:
        yield client


async def log_in(browser: httpx.AsyncClient, secret: str = ADMIN_SECRET, **headers: str) -> httpx.Response:
    return await browser.post("/dashboard/login", data={"key": secret}, headers=headers)


def text_of(page: httpx.Response) -> str:
    """The words of a page, tags and extra spaces left out."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.text)))


async def test_without_a_session_every_page_leads_to_the_login(browser: httpx.AsyncClient) -> None:
    for path in ("/dashboard", "/dashboard/requests/req-1"):
        response = await browser.get(path)

        assert (response.status_code, response.headers["location"]) == (303, "/dashboard/login")


async def test_an_admin_key_opens_the_dashboard_until_logout(browser: httpx.AsyncClient) -> None:
    entered = await log_in(browser)
    inside = await browser.get("/dashboard")
    left = await browser.post("/dashboard/logout")
    outside = await browser.get("/dashboard")

    assert (entered.status_code, entered.headers["location"]) == (303, "/dashboard")
    assert inside.status_code == 200
    assert left.status_code == 303
    assert outside.status_code == 303


async def test_a_raised_budget_shows_the_limit_of_now(installation: Installation, browser: httpx.AsyncClient) -> None:
    await write_books(installation.engine, [make_record("a")], [MONTHLY])
    made = Raise(
        id="raise-1",
        budget=MONTHLY.id,
        scope="",
        amount=Nano(5 * 10**9),
        made_ns=NOW_NS,
        until_ns=NOW_NS + 10**9,
        ended_ns=None,
        author="boss",
        reason="launch week",
    )
    await asyncio.to_thread(raises.add, installation.engine.database, made)
    await log_in(browser)

    with_it = text_of(await browser.get("/dashboard"))
    installation.clock.now_ns = made.until_ns
    after = text_of(await browser.get("/dashboard"))

    assert "of $15.00 raised" in with_it
    assert "of $10.00 until" in after


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites(browser: httpx.AsyncClient) -> None:
    response = await log_in(browser)

    cookie = response.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/dashboard", "max-age="))
    assert ADMIN_SECRET not in cookie


@pytest.mark.parametrize("secret", ["", "fk-wrong", CALLER_SECRET, "x" * 10_000])
async def test_any_other_key_is_turned_away_with_a_word(browser: httpx.AsyncClient, secret: str) -> None:
    response = await log_in(browser, secret)

    assert response.status_code == 401
    assert "not the key of an administrator" in text_of(response)
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "http://evil.example"}],
)
async def test_a_form_of_another_site_cannot_log_anybody_in(
    browser: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    response = await log_in(browser, ADMIN_SECRET, **headers)

    assert response.status_code == 403
    assert "set-cookie" not in response.headers


async def test_a_form_of_our_own_page_is_taken_from_every_browser(browser: httpx.AsyncClient) -> None:
    modern = await log_in(browser, **{"sec-fetch-site": "same-origin"})
    older = await log_in(browser, origin="http://gateway.test")

    assert (modern.status_code, older.status_code) == (303, 303)


async def test_a_session_ends_with_its_time_its_key_or_its_right(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    await log_in(browser)
    boss = installation.keys["boss"]

    installation.keys["boss"] = make_key("boss", "fk-replaced", *boss.rights)
    replaced = await browser.get("/dashboard")
    installation.keys["boss"] = make_key("boss", ADMIN_SECRET)
    without_right = await browser.get("/dashboard")
    del installation.keys["boss"]
    removed = await browser.get("/dashboard")
    installation.keys["boss"] = boss
    back = await browser.get("/dashboard")
    installation.clock.now_ns += 13 * 3600 * 10**9
    late = await browser.get("/dashboard")

    statuses = [page.status_code for page in (replaced, without_right, removed, back, late)]
    assert statuses == [303, 303, 303, 200, 303]


@pytest.mark.parametrize(
    "cookie", ["boss", "boss.9999999999.", "boss.9999999999." + "0" * 64, "..", "boss.²." + "0" * 64]
)
async def test_a_made_up_cookie_opens_nothing(browser: httpx.AsyncClient, cookie: str) -> None:
    response = await browser.get("/dashboard", headers={"cookie": f"farthing_session={cookie}".encode()})

    assert response.status_code == 303


async def test_logging_out_takes_a_post(browser: httpx.AsyncClient) -> None:
    await log_in(browser)

    assert (await browser.get("/dashboard/logout")).status_code == 405
    assert (await browser.get("/dashboard")).status_code == 200


async def test_pages_run_no_script_and_fit_in_no_frame(browser: httpx.AsyncClient) -> None:
    await log_in(browser)

    for path in ("/dashboard", "/dashboard/login", "/dashboard/requests/none", "/dashboard/farthing.css"):
        headers = (await browser.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


async def test_before_the_first_request_the_page_says_how_to_make_one(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    await log_in(browser)
    without_file = await browser.get("/dashboard")
    await write_books(installation.engine, [])
    without_rows = await browser.get("/dashboard")

    for page in (without_file, without_rows):
        assert "No requests yet" in text_of(page)
        assert "curl http://gateway.test/v1/chat/completions" in text_of(page)


async def test_the_overview_shows_the_figures_of_the_ledger(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    mail = Tags(tenant="acme", key_id="app", feature="mail")
    records = [
        make_record("a"),
        make_record("b", **HIT),
        make_record("c", tags=mail, tier="large", cost=Nano(6_000_000), avoided_routing=Nano(0)),
        make_record("old", received_ns=NOW_NS - 40 * 86_400 * 10**9, cost=Nano(9 * 10**9)),
    ]
    await write_books(installation.engine, records, [MONTHLY])
    await log_in(browser)

    page = text_of(await browser.get("/dashboard"))

    assert "Spent this month $0.00800" in page
    assert "Saved by caches, net $0.00200" in page
    assert "Avoided by routing $0.00500" in page
    assert "3 requests" in page
    assert "33% hit rate" in page
    assert "mail $0.00600 75% 1 req" in page
    assert "search $0.00200 25% 2 req" in page
    assert "search-month feature=search, per month" in page
    assert "agent-run each run, per run" in page
    assert "small passed faq with 0.94 over 0.90" in page


async def test_each_feature_shows_its_hit_rate_its_wrong_answers_and_what_was_saved_net(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    shadow = Tags(tenant="acme", key_id="farthing-shadow", feature="farthing-shadow", task="shadow:search")
    records = [
        make_record("a"),
        make_record("b", **HIT),
        make_record("c", **HIT | {"cache": CacheOutcome.SEMANTIC}),
        make_record("d", tags=shadow, cache=CacheOutcome.BYPASS, cost=Nano(500_000)),
    ]
    sums = {"requests": 1000, "hits": 250, "graded": 100, "weight": 200, "squares": 400, "wrong": 2, "wrong_weight": 4}
    domain = DomainState(tenant="acme", feature="search", environment="", state=State.CALIBRATED, compared=412)
    installation.semantic = SemanticFigures(reports=semantic_report({"search": sums}, {}), domains=[domain])
    installation.caching = {"search": Caching(exact=True, max_wrong=0.005)}
    await write_books(installation.engine, records)
    await log_in(browser)

    page = text_of(await browser.get("/dashboard"))

    assert "search 67% $0.00350 $0.00400 less $0.000500 0.5% (0.14% to 1.75%)" in page
    assert "budget 0.5%, 100 graded: too few to tell domains: 1 calibrated 1 exact 1 semantic 3" in page


async def test_a_feature_whose_semantic_cache_was_not_graded_claims_no_estimate(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    installation.caching = {"search": Caching(exact=True, max_wrong=0.005)}
    await write_books(installation.engine, [make_record("a")])
    await log_in(browser)

    page = text_of(await browser.get("/dashboard"))

    assert "search 0% $0.00 not graded yet budget 0.5% none 1" in page


async def test_where_nothing_asked_a_cache_the_page_says_how_to_turn_one_on(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    await write_books(installation.engine, [make_record("a", cache=CacheOutcome.BYPASS)])
    await log_in(browser)

    page = text_of(await browser.get("/dashboard"))

    assert "nothing looked up" in page
    assert "No request asked a cache in the last 30 days." in page


async def test_what_got_no_answer_in_a_day_is_counted_by_how_it_ended(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    refused = {"outcome": Outcome.REFUSED, "status": 402, "error_code": "budget_exceeded", "cost": Nano(0)}
    records = [
        make_record("a"),
        make_record("b", **HIT),
        make_record("c", **refused),
        make_record("d", **refused),
        make_record("e", outcome=Outcome.UPSTREAM_ERROR, status=502, error_code="upstream_unreachable"),
        make_record("old", **refused, received_ns=NOW_NS - 25 * 3600 * 10**9),
    ]
    await write_books(installation.engine, records)
    await log_in(browser)

    page = text_of(await browser.get("/dashboard"))

    assert "Not answered, 24 hours 3 of 5 requests: 2 refused, 1 upstream error" in page
    assert "budget exceeded" in page


async def test_what_is_wrong_stands_above_the_figures(installation: Installation, browser: httpx.AsyncClient) -> None:
    detail = "The configuration has 1 finding:\n  config/keys.yaml:8:11: keys[0].hash: <b>"
    await log_in(browser)
    well = await browser.get("/dashboard")
    installation.problems = [Problem(reason="config", detail=detail, blocking=False)]
    empty = await browser.get("/dashboard")
    await write_books(installation.engine, [make_record("a")])
    full = await browser.get("/dashboard")

    assert "Needs attention" not in well.text
    for page in (empty, full):
        assert "Needs attention: config" in text_of(page)
        assert "keys[0].hash: &lt;b&gt;" in page.text
        assert "The settings from before stay in use" in text_of(page)


async def test_a_request_page_tells_the_story_and_adds_up_the_bill(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    await write_books(installation.engine, [make_record("req-1")])
    await log_in(browser)

    page = text_of(await browser.get("/dashboard/requests/req-1"))

    assert "Policy 'cheapest_passing' chose tier 'small': small passed faq with 0.94 over 0.90." in page
    assert "input uncached 1,000 1 0.001" in page
    assert "output 200 5 0.001" in page
    assert "Booked 0.002000000" in page


async def test_a_request_page_shows_who_refused_the_tier_and_the_provider_s_own_figure(
    installation: Installation, browser: httpx.AsyncClient
) -> None:
    told = {"service_tier": "flex", "stated_cost": Nano(1_900_000), "refused_by": "monthly|feature=search"}
    await write_books(installation.engine, [make_record("req-1", **told), make_record("req-2")])
    await log_in(browser)

    page = text_of(await browser.get("/dashboard/requests/req-1"))
    plain = text_of(await browser.get("/dashboard/requests/req-2"))

    assert "Stated by the provider 0.001900000" in page
    assert "Service tier flex" in page
    assert "Refused by monthly, feature=search" in page
    assert "Stated by the provider" not in plain


async def test_an_unknown_request_gets_a_page_that_says_so(browser: httpx.AsyncClient) -> None:
    await log_in(browser)

    page = await browser.get("/dashboard/requests/..%2f..%2fetc")
    missing = await browser.get("/dashboard/requests/req-none")

    assert page.status_code == 404
    assert missing.status_code == 404
    assert "No such request" in text_of(missing)


async def test_hostile_names_are_shown_and_never_run(installation: Installation, browser: httpx.AsyncClient) -> None:
    hostile = '"><script>alert(1)</script>{{7*7}}'
    records = [
        make_record("a", model_served=hostile, route_reason=hostile, tier=hostile, error_code=hostile),
        make_record("b", model_requested=hostile, outcome=Outcome.REJECTED, cache=CacheOutcome.BYPASS),
    ]
    await write_books(installation.engine, records)
    await log_in(browser)

    for path in ("/dashboard", "/dashboard/requests/a", "/dashboard/requests/b"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "<script" not in page.text
        assert "&lt;script&gt;" in page.text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (12_345, "$0.0000123"),
        (12_345_678_900, "$12.35"),
        (1_234_567 * 10**9, "$1,234,567.00"),
        (-5_000_000, "-$0.00500"),
    ],
)
def test_amounts_read_well_at_every_size(amount: int, text: str) -> None:
    assert usd(amount) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (0.004, "0.4%"), (0.5, "50%"), (0.999, "99.9%"), (1, "100%")])
def test_shares_never_round_to_all_or_nothing(share: float, text: str) -> None:
    assert percent(share) == text
