"""Entries: a stored answer as bytes, bound to its key and checked when it is read back."""

from dataclasses import dataclass
from typing import Final
from zlib import crc32

import msgspec

from farthing.answer import StoredAnswer

_FORMAT: Final = b"\x01"
_HEADER: Final = 5  # format, then four bytes of CRC-32


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
    """The entry as bytes."""
    content = _ENCODER.encode(entry)
    return _FORMAT + crc32(content).to_bytes(4, "big") + content


def unpack(data: bytes, *, key: bytes) -> Entry:
    """The entry in `data`; raises CorruptEntry unless it is whole and was packed under `key`."""
    content = data[_HEADER:]
    if data[:1] != _FORMAT or crc32(content).to_bytes(4, "big") != data[1:_HEADER]:
        raise CorruptEntry("unknown format or damaged")
    try:
        entry = _DECODER.decode(content)
    except msgspec.MsgspecError as error:
        raise CorruptEntry("not an entry") from error
    if entry.key != key:
        raise CorruptEntry("stored under another key")
    return entry
