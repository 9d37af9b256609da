"""Which part of a divided traffic a call belongs to."""

from typing import Any

from farthing.call import Call, Endpoint
from farthing.tags import Tags
from gateway.splits import place_of


def call(number: int = 0, *, tenant: str = "acme", run: str = "", **body: Any) -> Call:
    return Call(
        id=f"req-{number}",
        endpoint=Endpoint.CHAT,
        tags=Tags(tenant=tenant, key_id="k", feature="f", run=run),
        model="auto",
        stream=False,
        wants_usage=False,
        raw=b"",
        body=body,
        received_ns=0,
        started=0.0,
        input_bound=0,
    )


def turns(*said: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    system = {"role": "system", "content": "You are brief."}
    return [system, *({"role": roles[n % 2], "content": text} for n, text in enumerate(said))]


def test_all_turns_of_a_conversation_have_one_place() -> None:
    first = place_of(call(1, messages=turns("hello")), "t")
    later = place_of(call(2, messages=turns("hello", "Hello!", "and now?")), "t")

    assert first == later
    assert place_of(call(3, messages=turns("good day")), "t") != first


def test_a_run_is_one_conversation_whatever_is_said_in_it() -> None:
    places = {place_of(call(n, run="job-7", messages=turns(f"step {n}")), "t") for n in range(5)}

    assert len(places) == 1


def test_tenants_and_tasks_are_divided_on_their_own() -> None:
    places = {
        place_of(call(1, tenant=tenant, messages=turns("hello")), task)
        for tenant in ("acme", "globex")
        for task in ("t", "u")
    }

    assert len(places) == 4


def test_every_form_of_a_request_has_its_beginning() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    for body in ({"input": "hello"}, {"input": parts}, {"prompt": "hello"}, {"prompt": ["hello"]}, {"messages": parts}):
        assert place_of(call(1, **body), "t") == place_of(call(2, **body), "t")


def test_a_call_that_says_nothing_stands_for_itself() -> None:
    places = {place_of(call(n), "t") for n in range(100)}

    assert len(places) == 100
    assert all(0 <= place < 1 for place in places)
    assert 0.3 < sum(places) / 100 < 0.7
