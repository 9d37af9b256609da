"""Hostile keys: byte-exact or 401, closed doors stay closed, and no key is ever written anywhere."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from farthing.record import Outcome
from tests.gateway import ADMIN_KEY, KEY, OTHER_KEY, RunningGateway, hash_of
from tests.http.hostile import CHAT, asked, head, hostile_gateway, post, send, serves

pytestmark = pytest.mark.asyncio(loop_scope="module")
SHARED = "fk-live-0123456789abcdef0123456789abcdef"
PREFIX_KEYS = "\n".join(
    f'  - {{id: {name}, hash: "{hash_of(SHARED + name)}", tenant: {name}, feature: chat}}' for name in ("one", "two")
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    async with hostile_gateway(tmp_path_factory.mktemp("keys"), keys=PREFIX_KEYS) as running:
        yield running


BEARER = b"Authorization: Bearer " + KEY.encode()
WRONG = {
    "none": (),
    "an empty header": (b"Authorization:",),
    "an empty bearer": (b"Authorization: Bearer",),
    "an empty bearer and a blank": (b"Authorization: Bearer ",),
    "an empty x-api-key": (b"X-Api-Key:",),
    "a key of nobody": (b"Authorization: Bearer fk-nobody",),
    "upper case": (b"Authorization: Bearer " + KEY.upper().encode(),),
    "first letter in upper case": (b"Authorization: Bearer " + KEY.capitalize().encode(),),
    "one byte more": (BEARER + b"x",),
    "one byte less": (BEARER[:-1],),
    "trailing words": (BEARER + b" and more",),
    "a trailing comma": (BEARER + b",",),
    "two keys in one header": (BEARER + b", Bearer " + KEY.encode(),),
    "a doubled scheme": (b"Authorization: Bearer Bearer " + KEY.encode(),),
    "two blanks": (b"Authorization: Bearer  " + KEY.encode(),),
    "a tab": (b"Authorization: Bearer\t" + KEY.encode(),),
    "no scheme": (b"Authorization: " + KEY.encode(),),
    "another scheme": (b"Authorization: Basic " + KEY.encode(),),
    "quotes": (b'Authorization: Bearer "' + KEY.encode() + b'"',),
    "percent encoding": (b"Authorization: Bearer " + KEY.replace("-", "%2d").encode(),),
    "look-alike letters": (b"Authorization: Bearer " + KEY.replace("e", "\u0435").encode(),),
    "a zero-width blank": (BEARER + "\u200b".encode(),),
    "a no-break blank": (BEARER + b"\xa0",),
    "latin-1": (b"Authorization: Bearer fk-\xe9",),
    "its hash": (b"Authorization: Bearer " + hash_of(KEY).encode(),),
    "its bare hash": (b"Authorization: Bearer " + hash_of(KEY).removeprefix("sha256:").encode(),),
    "its name": (b"Authorization: Bearer first",),
    "SQL": (b"Authorization: Bearer ' OR '1'='1' --",),
    "SQL without blanks": (b"Authorization: Bearer '/**/OR/**/1=1--",),
    "a wildcard": (b"Authorization: Bearer %",),
    "a template": (b"Authorization: Bearer ${OPENAI_API_KEY}",),
    "the authorization twice": (BEARER, BEARER),
    "two authorizations": (BEARER, b"Authorization: Bearer " + OTHER_KEY.encode()),
    "disagreeing headers": (BEARER, b"X-Api-Key: " + OTHER_KEY.encode()),
    "a good and an empty header": (BEARER, b"X-Api-Key:"),
    "x-api-key twice": (b"X-Api-Key: " + KEY.encode(), b"X-Api-Key: " + KEY.encode()),
    "a scheme in x-api-key": (b"X-Api-Key: Bearer " + KEY.encode(),),
    "a cookie": (b"Cookie: key=" + KEY.encode() + b"; authorization=" + KEY.encode(),),
    "proxy authorization": (b"Proxy-Authorization: Bearer " + KEY.encode(),),
    "an underscore": (b"X_Api_Key: " + KEY.encode(),),
    "another gateway's header": (b"X-Litellm-Api-Key: " + KEY.encode(), b"Api-Key: " + KEY.encode()),
    "a long key": (b"Authorization: Bearer " + b"k" * 50_000,),
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG.keys())
async def test_what_is_not_exactly_a_key_is_401_and_booked(gateway: RunningGateway, headers: tuple[bytes, ...]) -> None:
    sent, booked = len(gateway.mock.requests), len(gateway.records())

    reply = await send(gateway, post(asked(), *headers, key=""))

    assert (reply.status, reply.error["code"], reply.error["type"]) == (401, "invalid_api_key", "authentication_error")
    assert KEY.encode() not in reply.body
    assert len(gateway.mock.requests) == sent
    record = gateway.records()[-1]
    assert len(gateway.records()) == booked + 1
    assert (record.outcome, record.tags.key_id, record.tags.tenant) == (Outcome.REJECTED, "", "")
    assert await serves(gateway)


async def test_a_nul_in_the_key_never_reaches_the_door(gateway: RunningGateway) -> None:
    reply = await send(gateway, post(asked(), BEARER + b"\x00", key=""))

    assert reply.status in (400, 401)


@pytest.mark.parametrize("query", ["key", "api_key", "api-key", "access_token", "authorization"])
async def test_a_key_in_the_query_is_no_key(gateway: RunningGateway, query: str) -> None:
    reply = await send(gateway, post(asked(), target=f"{CHAT}?{query}={KEY}".encode(), key=""))

    assert reply.status == 401
    assert KEY.encode() not in reply.body


@pytest.mark.parametrize(
    "headers",
    [
        (BEARER,),
        (b"authorization: bearer " + KEY.encode(),),
        (b"X-API-KEY: " + KEY.encode(),),
        (BEARER, b"X-Api-Key: " + KEY.encode()),
    ],
)
async def test_a_key_may_come_in_either_header_or_agreeing_in_both(
    gateway: RunningGateway, headers: tuple[bytes, ...]
) -> None:
    reply = await send(gateway, post(asked("either header"), *headers, key=""))

    assert reply.status == 200


async def test_keys_that_share_a_long_prefix_share_nothing_else(gateway: RunningGateway) -> None:
    question = asked("who am i")

    replies = [await send(gateway, post(question, key=SHARED + name)) for name in ("one", "two", "one")]
    stranger = await send(gateway, post(question, key=SHARED + "three"))
    bare = await send(gateway, post(question, key=SHARED))

    assert [reply.headers["x-farthing-cache"] for reply in replies] == ["miss", "miss", "exact"]
    assert (stranger.status, bare.status) == (401, 401)


@pytest.mark.parametrize(
    "path",
    [
        "/api/records/req-1",
        "/api/spend",
        "/api/budgets",
        "/v1/models",
        "/v1/models/auto",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_stranger_reads_nothing(gateway: RunningGateway, path: str, method: bytes) -> None:
    replies = [await send(gateway, head(target=path.encode(), method=method, key=key)) for key in ("", "fk-nobody")]

    assert {reply.status for reply in replies} <= {401, 404, 405}
    assert all(b"acme" not in reply.body for reply in replies)


@pytest.mark.parametrize("path", ["/api/records/req-1", "/api/spend", "/api/budgets"])
async def test_a_key_without_the_right_reads_no_report(gateway: RunningGateway, path: str) -> None:
    reply = await send(gateway, head(target=path.encode(), method=b"GET"))

    assert reply.status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/redoc",
        "/openapi.json",
        "/config",
        "/config/update",
        "/admin",
        "/reload",
        "/debug",
        "/key/generate",
        "/mcp",
        "/v1/mcp/tools",
        "/v1/realtime",
        "/test_connection",
        "/.env",
        "/.git/config",
        "/server-status",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_doors_that_others_left_open_do_not_exist(gateway: RunningGateway, path: str, method: bytes) -> None:
    for key in ("", KEY, ADMIN_KEY):
        reply = await send(gateway, head(b"Content-Length: 2", target=path.encode(), method=method, key=key) + b"{}")

        assert reply.status in (404, 405)


async def test_health_tells_a_stranger_nothing(gateway: RunningGateway) -> None:
    health = await send(gateway, head(target=b"/healthz", method=b"GET", key=""))
    ready = await send(gateway, head(target=b"/readyz", method=b"GET", key=""))

    assert health.body.strip() == b'{"status":"ok"}'
    assert ready.body.strip() == b'{"status":"ready","reasons":[]}'


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses/resp_1",
        "/v1/responses/resp_1/input_items",
        "/v1/responses/resp_1/cancel",
        "/v1/files",
        "/v1/files/file-1/content",
        "/v1/batches",
        "/v1/batches/batch_1",
        "/v1/chat/completions/chatcmpl-1",
        "/v1/threads",
        "/v1/vector_stores",
        "/v1/fine_tuning/jobs",
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/messages",
        "/openai/deployments/large-model/chat/completions",
        "/chat/completions",
        "/engines/large-model/completions",
        "/v1/engines/large-model/chat/completions",
        "/v1beta/models/large-model:generateContent",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
async def test_what_is_not_metered_is_404(gateway: RunningGateway, path: str, method: bytes) -> None:
    sent = len(gateway.mock.requests)
    body = asked(model="plain-model")

    reply = await send(gateway, head(b"Content-Length: %d" % len(body), target=path.encode(), method=method) + body)

    assert reply.status == 404
    assert len(gateway.mock.requests) == sent


CLIENT_HEADERS = (
    b"Cookie: session=secret-cookie",
    b"X-Api-Key: " + KEY.encode(),
    b"OpenAI-Organization: org-of-the-client",
    b"OpenAI-Project: proj-of-the-client",
    b"Anthropic-Version: 2023-06-01",
    b"X-Custom: of-the-client",
    b"Connection: keep-alive, X-Hop",
    b"X-Hop: of-the-client",
    b"Referer: http://client.example/page",
    b"User-Agent: client/1.0",
    b"X-Forwarded-For: 10.0.0.1",
    b"Via: 1.1 client",
    b"Baggage: user=of-the-client",
)


async def test_no_header_of_the_client_goes_upstream(gateway: RunningGateway) -> None:
    reply = await send(gateway, post(asked("headers", model="plain-model"), *CLIENT_HEADERS))

    sent = gateway.mock.requests[-1].headers
    assert reply.status == 200
    assert sent.keys() <= {"host", "content-type", "content-length", "user-agent", "accept-encoding", "accept"}
    assert not any(word in value for value in sent.values() for word in (KEY, "client", "secret"))


@pytest.mark.parametrize(
    "members",
    [
        {"api_base": "http://127.0.0.1:1/v1"},
        {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk-own"},
        {"custom_host": "http://169.254.169.254/"},
        {"fallbacks": [{"model": "x", "api_base": "http://127.0.0.1:1"}]},
        {"webhook": "http://127.0.0.1:1/hook", "webhook_url": "http://127.0.0.1:1/hook"},
        {"user_config": {"model_list": [{"litellm_params": {"api_base": "http://127.0.0.1:1"}}]}},
        {"extra_headers": {"authorization": "Bearer own"}, "extra_body": {"api_base": "http://127.0.0.1:1"}},
        {"provider": {"base_url": "http://127.0.0.1:1"}, "custom_llm_provider": "http://127.0.0.1:1"},
    ],
)
async def test_a_url_in_the_body_is_never_dialled(gateway: RunningGateway, members: dict[str, object]) -> None:
    reply = await send(gateway, post(asked(f"dial {members}", model="plain-model", **members)))

    assert reply.status == 200
    assert gateway.mock.requests[-1].path == CHAT
    assert "authorization" not in gateway.mock.requests[-1].headers
    assert [attempt.deployment for attempt in gateway.records()[-1].attempts] == ["mock/plain-model"]


async def test_no_key_is_written_anywhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    canary = "fk-canary-5c0f7d2e"
    log = "logging: {level: debug}"
    async with hostile_gateway(tmp_path, log=log) as gateway:
        replies = [
            await send(gateway, post(asked(), key=canary)),
            await send(gateway, post(asked(), b"X-Api-Key: " + canary.encode())),
            await send(gateway, post(asked(), target=f"{CHAT}?key={canary}".encode())),
            await send(gateway, post(b"{", b"X-Api-Key: " + KEY.encode())),
            await send(gateway, post(asked(model="mock-401"))),
            await send(gateway, post(asked(model="mock-500"))),
            await send(gateway, post(asked(model="mock-not-json"))),
            await send(gateway, head(b"Content-Length: 9999999", b"Cookie: " + canary.encode())),
            await send(gateway, head(b"X: \x00", key=canary)),
            await send(gateway, head(target=b"/nowhere?key=" + canary.encode(), method=b"GET", key=canary)),
        ]
        metrics = (await gateway.client.get("/metrics")).text
        shown = [reply.body.decode() + str(reply.headers) for reply in replies]
    written = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
    output = capfd.readouterr()

    assert '"outcome":"rejected"' in output.err, "the log was read"
    for text in (*shown, metrics, output.err, output.out, caplog.text, written.decode("latin-1")):
        assert KEY not in text
        assert canary not in text
