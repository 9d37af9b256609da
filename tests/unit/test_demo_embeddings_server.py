"""The embeddings upstream, called in process."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from cache.embedders.minilm import MAX_POSITIONS, MiniLM
from demo.embeddings_server import build_app


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM(max_tokens=MAX_POSITIONS)


@pytest.fixture
async def client(minilm: MiniLM) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(minilm)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://demo") as client,
    ):
        yield client


async def embed(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post("/v1/embeddings", json={"model": "minilm-l6", **fields})


async def test_a_string_gives_one_unit_vector_and_its_real_token_count(client: httpx.AsyncClient) -> None:
    answer = (await embed(client, input="hello world")).json()

    assert np.linalg.norm(answer["data"][0]["embedding"]) == pytest.approx(1.0, abs=1e-5)
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}  # [CLS] hello world [SEP]
    assert (answer["object"], answer["model"]) == ("list", "minilm-l6")


async def test_a_list_gives_one_vector_each_in_order(client: httpx.AsyncClient, minilm: MiniLM) -> None:
    answer = (await embed(client, input=["one", "two words"])).json()

    got = np.array([item["embedding"] for item in answer["data"]])
    assert np.abs(got - minilm.embed_sync(["one", "two words"])).max() < 1e-2
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert answer["usage"]["prompt_tokens"] == 3 + 4


async def test_base64_holds_the_same_numbers_as_little_endian_float32(client: httpx.AsyncClient) -> None:
    plain = (await embed(client, input="hello", encoding_format="float")).json()["data"][0]["embedding"]

    coded = (await embed(client, input="hello", encoding_format="base64")).json()["data"][0]["embedding"]

    assert np.frombuffer(base64.b64decode(coded), "<f4").tolist() == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": [1, 2, 3]}, "input", "token ids"),
        ({"input": [[1, 2], [3]]}, "input", "token ids"),
        ({"input": ""}, "input", "not empty"),
        ({"input": ["fine", None]}, "input", "string"),
        ({"input": []}, "input", "1 to 2048"),
        ({"input": ["x"] * 2049}, "input", "1 to 2048"),
        ({}, "input", "string"),
        ({"input": "word " * 511}, "input", "at most 512 tokens and input 0 has 513"),
        ({"input": "x", "dimensions": 256}, "dimensions", "384"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format", "base64"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_with_the_parameters_name(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str, words: str
) -> None:
    response = await embed(client, **fields)

    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert words in error["message"]


@pytest.mark.parametrize("body", [b"", b"{bad", b"null", b"[]", b'{"model": NaN}'])
async def test_a_body_that_is_no_json_object_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/v1/embeddings", content=body)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


async def test_another_model_is_not_found(client: httpx.AsyncClient) -> None:
    response = await embed(client, model="text-embedding-3-small", input="x")

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


async def test_the_model_list_names_the_model(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()

    assert [model["id"] for model in models["data"]] == ["minilm-l6"]
