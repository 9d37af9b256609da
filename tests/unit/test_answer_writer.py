"""Whole answers on the wire: head and body in one write, and nothing in a header that would end it."""

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.wire import WHOLE_ANSWER, AnswerWriter

HEADERS = [(b"content-type", b"application/json"), (b"x-farthing-cache", b"exact")]


class Wire(asyncio.Transport):
    """Keeps what was written, each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True


class Exchange:
    """One request that waits for its answer."""

    def __init__(self, *, keep_alive: bool = True) -> None:
        self.wire, self.completed = Wire(), 0
        log = logging.getLogger("nobody")
        self.cycle = RequestResponseCycle(
            scope={"method": "POST"},  # type: ignore[typeddict-item]
            transport=self.wire,
            flow=FlowControl(self.wire),
            logger=log,
            access_logger=log,
            access_log=False,
            default_headers=[(b"date", b"today")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._complete,
        )

    def _complete(self) -> None:
        self.completed += 1

    async def answer(self, headers: list[tuple[bytes, bytes]] = HEADERS, body: bytes = b"{}") -> None:
        message = {"type": WHOLE_ANSWER, "status": 200, "headers": headers, "body": body}
        await AnswerWriter(self.cycle).send(message)


async def test_head_and_body_are_one_write() -> None:
    exchange = Exchange()

    await exchange.answer()

    assert exchange.wire.writes == [
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: application/json\r\nx-farthing-cache: exact\r\n"
        b"content-length: 2\r\n\r\n{}"
    ]
    assert (exchange.completed, exchange.cycle.response_complete, exchange.wire.closed) == (1, True, False)


async def test_a_connection_that_is_not_kept_says_so_and_is_closed() -> None:
    exchange = Exchange(keep_alive=False)

    await exchange.answer()

    sent = b"".join(exchange.wire.writes)
    assert b"connection: close\r\n" in sent
    assert sent.endswith(b"content-length: 2\r\nconnection: close\r\n\r\n{}")
    assert (exchange.completed, exchange.wire.closed) == (1, True)


async def test_a_client_that_has_left_is_sent_nothing() -> None:
    exchange = Exchange()
    exchange.cycle.disconnected = True

    await exchange.answer()

    assert exchange.wire.writes == []


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    exchange = Exchange()
    exchange.cycle.flow.pause_writing()

    answering = asyncio.ensure_future(exchange.answer())
    await asyncio.sleep(0)
    waiting = list(exchange.wire.writes)
    exchange.cycle.flow.resume_writing()
    await answering

    assert waiting == []
    assert b"".join(exchange.wire.writes).endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("value", [b"a\r\nx-other: b", b"a\nb", b"a\x00b", b"\x7f"])
async def test_a_header_cannot_end_its_line(value: bytes) -> None:
    exchange = Exchange()

    with pytest.raises(RuntimeError, match="header"):
        await exchange.answer([(b"x-farthing-model", value)])

    assert exchange.wire.writes == []


async def test_all_other_messages_are_sent_as_ever() -> None:
    exchange = Exchange()
    writer = AnswerWriter(exchange.cycle)

    await writer.send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await writer.send({"type": "http.response.body", "body": b"{}", "more_body": False})

    assert b"".join(exchange.wire.writes) == b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\n{}"
