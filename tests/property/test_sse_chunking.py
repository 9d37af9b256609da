from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from farthing.errors import UpstreamBroken
from farthing.sse import Event, Reader

PIECES = [
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    b"\r\n\r\n",
    b"data: x",
    b"data:",
    b"data: {}\n\n",
    b"event: e",
    b": ping",
    b" ",
    b"\xef\xbb\xbf",
    b"\xff",
    "é\u2028".encode(),
]
STREAMS = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 120), max_size=30)


def chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut for cut in cuts if cut <= len(stream)), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


def read(parts: list[bytes], reader: Reader) -> list[Event]:
    return [event for part in parts for event in reader.feed(part)] + reader.close()


@given(STREAMS, CUTS)
def test_a_stream_reads_the_same_under_any_chunking(stream: bytes, cuts: list[int]) -> None:
    whole = read([stream], Reader())

    assert read(chunks(stream, cuts), Reader()) == whole
    assert read([bytes([byte]) for byte in stream], Reader()) == whole


@given(STREAMS, CUTS)
def test_the_spans_of_the_events_tile_the_stream(stream: bytes, cuts: list[int]) -> None:
    events = read(chunks(stream, cuts), Reader())

    assert b"".join(stream[event.start : event.end] for event in events) == stream
    assert all(before.end == after.start for before, after in pairwise(events))


@given(STREAMS, CUTS, st.integers(1, 40))
def test_the_cap_refuses_the_same_streams_under_any_chunking(stream: bytes, cuts: list[int], limit: int) -> None:
    def refused(parts: list[bytes]) -> bool:
        try:
            read(parts, Reader(limit))
        except UpstreamBroken:
            return True
        return False

    too_long = any(event.end - event.start > limit for event in read([stream], Reader()))

    assert refused([stream]) == refused(chunks(stream, cuts)) == too_long


@given(st.lists(st.binary(max_size=20).filter(lambda text: not set(text) & set(b"\r\n")), max_size=8))
def test_what_was_written_as_data_lines_is_read_back(lines: list[bytes]) -> None:
    frame = b"".join(b"data: " + line + b"\n" for line in lines) + b"data: end\n\n"

    assert [event.data for event in read([frame], Reader())] == [b"\n".join([*lines, b"end"])]
