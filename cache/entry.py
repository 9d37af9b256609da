"""Entries: a stored answer as bytes, bound to its key and checked when it is read back."""

import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from farthing.answer import StoredAnswer

_PLAIN: Final = b"\x01"
_DEFLATED: Final = b"\x02"
_HEADER: Final = 5  # format, then four bytes of CRC-32 over what follows
_WORTH_IT: Final = 1024  # bytes; below, less than half is saved, and a row costs more than that
_SAVING: Final = 0.7  # of the size, at most; base64 shrinks to 0.76, and to inflate it would cost more than it saves
_MOST: Final = 1 << 28  # bytes that an entry may inflate to: the largest that a configuration can keep, four times


class CorruptEntry(ValueError):
    """The bytes are no entry of this format, were damaged, or belong to another key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An answer under its key; `expires_ns` wall ns."""

    key: bytes
    expires_ns: int
    answer: StoredAnswer


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Entry)


def pack(entry: Entry) -> bytes:
    """The entry as bytes; a large one compressed (level 1: 6 us for each kB, half of the size of a text)."""
    kind, content = _PLAIN, _ENCODER.encode(entry)
    if len(content) >= _WORTH_IT and entry.answer.body[:1] == b"{":  # vectors do not shrink
        deflated = zlib.compress(content, 1)
        if len(deflated) < len(content) * _SAVING:
            kind, content = _DEFLATED, deflated
    return kind + zlib.crc32(content).to_bytes(4, "big") + content


def unpack(data: bytes, *, key: bytes) -> Entry:
    """The entry in `data`; raises CorruptEntry unless it is whole and was packed under `key`."""
    kind, content = data[:1], data[_HEADER:]
    if kind not in (_PLAIN, _DEFLATED) or zlib.crc32(content).to_bytes(4, "big") != data[1:_HEADER]:
        raise CorruptEntry("unknown format or damaged")
    try:
        entry = _DECODER.decode(content if kind == _PLAIN else _inflated(content))
    except (msgspec.MsgspecError, zlib.error) as error:
        raise CorruptEntry("not an entry") from error
    if entry.key != key:
        raise CorruptEntry("stored under another key")
    return entry


def _inflated(content: bytes) -> bytes:
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(content, _MOST)
    if not inflater.eof:
        raise CorruptEntry("cut off, or larger than any entry")
    return inflated
