"""The request log: one harmless line for each record."""

import io
import json

import pytest

from farthing.record import Attempt, Outcome
from farthing.tags import Tags
from gateway.logs import Level, LogFormat, RequestLog, printable
from tests.unit.test_metrics_requests import make_record


def lines_of(level: Level, **changes: object) -> list[dict[str, object]]:
    stream = io.BytesIO()
    RequestLog(stream, level).write(make_record(**changes))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_tells_who_called_what_it_cost_and_how_it_ended() -> None:
    [line] = lines_of(Level.INFO, tags=Tags(tenant="acme", key_id="k1", feature="search", run="r7"))

    assert line["id"] == "req-1"
    assert (line["tenant"], line["key"], line["feature"], line["run"]) == ("acme", "k1", "search", "r7")
    assert (line["outcome"], line["cost_nano"], line["input_tokens"], line["output_tokens"]) == (
        "success",
        1_500,
        7,
        3,
    )


@pytest.mark.parametrize("hostile", ["a\nb", "a\r\x1b[2Jb", "\x7f", "\u2028", "\u0085", "\u202e"])
def test_a_hostile_model_name_stays_within_its_line(hostile: str) -> None:
    stream = io.BytesIO()

    RequestLog(stream).write(make_record(model_served="", model_requested=hostile))

    text = stream.getvalue()
    assert text.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in text.removesuffix(b"\n"))
    assert json.loads(text)["model"] == hostile


def test_lines_less_severe_than_the_level_are_left_out() -> None:
    assert lines_of(Level.WARNING) == []
    assert lines_of(Level.ERROR, outcome=Outcome.REFUSED, error_code="budget_exceeded") == []
    [line] = lines_of(Level.ERROR, outcome=Outcome.UPSTREAM_ERROR, error_code="upstream_timeout")
    assert (line["level"], line["error"]) == ("error", "upstream_timeout")


def test_text_lines_are_for_people_and_as_harmless() -> None:
    stream = io.BytesIO()

    RequestLog(stream, format_=LogFormat.TEXT).write(make_record(model_served="a\nb"))

    text = stream.getvalue().decode()
    assert text.count("\n") == 1
    assert "outcome=success" in text and "model=a\\nb" in text


def test_attempts_before_the_one_that_answered_are_named() -> None:
    attempts = (
        Attempt(deployment="a/m", status=429, error="upstream_error", seconds=0.1),
        Attempt(deployment="b/m", status=200, error="", seconds=0.2),
    )

    [line] = lines_of(Level.INFO, attempts=attempts)

    assert line["attempts"] == [["a/m", "upstream_error"], ["b/m", ""]]


def test_a_closed_stream_loses_the_line_and_not_the_request() -> None:
    stream = io.BytesIO()
    stream.close()

    RequestLog(stream).write(make_record())


def test_printable_leaves_printable_text_alone() -> None:
    assert printable("a b~") == "a b~"
    assert printable("é") == "\\xe9"


def test_a_call_with_a_task_says_what_it_was_told_by() -> None:
    tags = Tags(tenant="acme", key_id="k1", feature="search", task="faq")

    [told] = lines_of(Level.INFO, tags=tags, task_source="rule")
    [none] = lines_of(Level.INFO, tags=Tags(tenant="acme", key_id="k1", feature="search"), task_source="default")

    assert (told["task"], told["task_source"]) == ("faq", "rule")
    assert "task_source" not in none
