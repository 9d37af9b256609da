import asyncio
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import Provider
from farthing.errors import UpstreamBroken
from gateway.upstreams.answer import Answer
from gateway.upstreams.connection import Connection

PROVIDER = Provider(name="acme", adapter="openai", base_url="http://unused")


class Tape(asyncio.Transport):
    """A transport that goes nowhere."""

    aborted = False

    def write(self, data: Any) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


class Shelf:
    """A pool of one; knows whether the connection came back."""

    kept = False

    def release(self, connection: Connection) -> None:
        self.kept = True

    def lost(self, connection: Connection) -> None: ...


class Talk:
    """One request on a connection of its own, whose answer is dealt out by hand."""

    def __init__(self) -> None:
        self.tape, self.shelf = Tape(), Shelf()
        self.connection = Connection(asyncio.get_running_loop())
        self.connection.connection_made(self.tape)
        self.connection.pool = self.shelf  # type: ignore[assignment]

    async def hear(self, pieces: list[bytes], *, eof: bool, stream: bool) -> tuple[Answer, bytes]:
        answer = Answer(PROVIDER, asyncio.get_running_loop(), 1_000_000)
        reading = asyncio.ensure_future(self._read(answer, stream))
        await asyncio.sleep(0)
        for piece in pieces:
            self.connection.data_received(piece)
            await asyncio.sleep(0)
        if eof:
            self.connection.eof_received()
            self.connection.connection_lost(None)
        return answer, await reading

    async def _read(self, answer: Answer, stream: bool) -> bytes:
        await answer.head(self.connection, b"request")
        return b"".join([chunk async for chunk in answer.chunks()]) if stream else await answer.read()


def cut(message: bytes, places: set[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(message) + 1) for place in places), len(message)]
    return [message[start:end] for start, end in pairwise(edges) if start < end]


class Made(NamedTuple):
    """An answer as it is sent, what must be read of it, and whether only the end of the connection ends it."""

    message: bytes
    status: int
    body: bytes
    until_close: bool


EARLY = st.lists(st.sampled_from([b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 103 E\r\nlink: x\r\n\r\n"]), max_size=3)
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b c"'])
TRAILERS = st.sampled_from([b"", b"x-t: 1\r\n", b"x-t: 1\r\nx-u:\r\n"])


@st.composite
def answers(draw: st.DrawFn) -> Made:
    status = draw(st.sampled_from([200, 201, 400, 429, 500, 503]))
    lines = b"HTTP/1.1 %d X\r\nContent-Type: text/event-stream\r\nx-empty:\r\n" % status
    head = b"".join(draw(EARLY)) + lines
    parts = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    body = b"".join(parts)
    framing = draw(st.sampled_from(["length", "chunks", "close"]))
    if framing == "length":
        return Made(head + b"content-length: %d\r\n\r\n%b" % (len(body), body), status, body, False)
    if framing == "close":
        return Made(head + b"\r\n" + body, status, body, True)
    extension, trailer = draw(EXTENSIONS), draw(TRAILERS)
    dealt = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    message = head + b"transfer-encoding: chunked\r\n\r\n" + dealt + b"0\r\n" + trailer + b"\r\n"
    return Made(message, status, body, False)


PLACES = st.sets(st.integers(0, 2000), max_size=12)


@given(answers(), PLACES, st.booleans())
async def test_an_answer_reads_the_same_however_it_was_cut(made: Made, places: set[int], stream: bool) -> None:
    talk = Talk()

    answer, read = await talk.hear(cut(made.message, places), eof=made.until_close, stream=stream)

    assert (answer.status, read) == (made.status, made.body)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-empty"] == ""
    assert not {"link", "x-t"} & answer.headers.keys()
    assert talk.shelf.kept is not made.until_close


@given(answers(), st.booleans())
async def test_an_answer_reads_the_same_byte_by_byte(made: Made, stream: bool) -> None:
    letters = [bytes([byte]) for byte in made.message]

    answer, read = await Talk().hear(letters, eof=made.until_close, stream=stream)

    assert (answer.status, read) == (made.status, made.body)


@given(st.lists(answers(), max_size=4), answers(), PLACES)
async def test_answers_in_a_row_on_one_connection_do_not_mix(row: list[Made], last: Made, places: set[int]) -> None:
    talk = Talk()
    for made in row:
        if not made.until_close:
            _, read = await talk.hear(cut(made.message, places), eof=False, stream=False)
            assert read == made.body

    answer, read = await talk.hear(cut(last.message, places), eof=last.until_close, stream=False)

    assert (answer.status, read) == (last.status, last.body)
    assert "x-t" not in answer.headers


@given(answers(), st.data())
async def test_an_answer_cut_short_is_never_taken_for_a_whole_one(made: Made, data: st.DataObject) -> None:
    kept = made.message[: data.draw(st.integers(0, len(made.message) - 1))]

    try:
        answer, read = await Talk().hear([kept] if kept else [], eof=True, stream=False)
    except UpstreamBroken:
        return

    assert made.until_close  # nothing tells such an answer from a whole one
    assert answer.status == made.status
    assert made.body.startswith(read)


@given(st.binary(max_size=200), answers(), PLACES)
async def test_whatever_arrives_the_receiver_gets_an_answer_or_a_broken_one(
    noise: bytes, made: Made, places: set[int]
) -> None:
    middle = len(made.message) // 2
    message = made.message[:middle] + noise + made.message[middle:]

    try:
        answer, _ = await Talk().hear(cut(message, places), eof=True, stream=True)
    except UpstreamBroken as error:
        assert "Provider 'acme' " in error.message
    else:
        assert answer.status >= 200
