import csv
from pathlib import Path

import pytest

from farthing.errors import UpstreamBroken
from farthing.sse import Event, Reader

RECORDINGS = Path(__file__).parents[3] / "shared/data/sse/pydantic-ai"


def read(stream: bytes) -> list[Event]:
    reader = Reader()
    return reader.feed(stream) + reader.close()


def test_two_frames_in_one_chunk_are_two_events_with_their_spans() -> None:
    events = read(b'data: {"a":1}\n\ndata: [DONE]\n\n')

    assert events == [Event(b'{"a":1}', "", 0, 15), Event(b"[DONE]", "", 15, 29)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_kind_of_line_end_gives_the_same_fields(end: bytes) -> None:
    events = read(end.join([b"event: delta", b"data: one", b"data: two", b"", b"data:three", b"", b""]))

    assert [(event.event, event.data) for event in events] == [("delta", b"one\ntwo"), ("", b"three")]


def test_an_event_comes_out_with_the_chunk_that_ends_its_frame() -> None:
    reader = Reader()

    assert reader.feed(b"data: x\n") == []
    assert reader.feed(b"\ndata: y") == [Event(b"x", "", 0, 9)]
    assert reader.feed(b"\n\n") == [Event(b"y", "", 9, 18)]


def test_a_blank_line_cut_between_cr_and_lf_keeps_its_lf() -> None:
    reader = Reader()

    assert reader.feed(b"data: x\r\n\r") == []
    assert reader.feed(b"\n") == [Event(b"x", "", 0, 11)]
    assert reader.close() == []


def test_a_comment_alone_is_an_event_without_data() -> None:
    events = read(b": OPENROUTER PROCESSING\n\ndata: x\n\n")

    assert events == [Event(b"", "", 0, 25), Event(b"x", "", 25, 34)]


def test_a_comment_inside_a_frame_is_left_out_of_its_data() -> None:
    assert read(b": ping\ndata: x\n\n") == [Event(b"x", "", 0, 16)]


def test_stray_blank_lines_belong_to_the_next_frame() -> None:
    assert read(b"data: x\n\n\ndata: y\n\n") == [Event(b"x", "", 0, 9), Event(b"y", "", 9, 19)]


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert read(b"\xef\xbb\xbfdata: x\n\n") == [Event(b"x", "", 0, 12)]


def test_only_one_space_after_the_colon_is_dropped() -> None:
    assert [event.data for event in read(b"data:  x\n\ndata:\n\ndata\n\n")] == [b" x", b"", b""]


def test_a_line_separator_character_is_no_line_end() -> None:
    text = "a\u2028b\u0085c".encode()

    assert [event.data for event in read(b"id: 1\ndata: " + text + b"\n\n")] == [text]


def test_an_unfinished_last_frame_comes_out_at_the_end() -> None:
    assert read(b'data: {"usage":{}}') == [Event(b'{"usage":{}}', "", 0, 18)]


def test_an_endless_frame_is_refused_at_the_cap() -> None:
    reader = Reader(max_frame_bytes=100)
    reader.feed(b"data: " + b"x" * 94)

    with pytest.raises(UpstreamBroken, match="100 bytes"):
        reader.feed(b"x")


def test_a_whole_frame_over_the_cap_is_refused_too() -> None:
    for line_end in (b"\n", b"\r\n"):
        with pytest.raises(UpstreamBroken, match="100 bytes"):
            Reader(max_frame_bytes=100).feed(b"data: " + b"x" * 94 + line_end * 2 + b"data: y")


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings lie outside of the repository")
def test_every_recording_has_as_many_frames_with_data_as_its_manifest_says() -> None:
    with (RECORDINGS / "MANIFEST.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))

    counted = {
        row["file"]: sum(bool(event.data) for event in read((RECORDINGS / row["file"]).read_bytes())) for row in rows
    }

    assert len(rows) > 100
    assert counted == {row["file"]: int(row["events"]) for row in rows}
