"""Snapshots: the vectors of large scopes in files, so that a restart need not read them out of the rows again."""

import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_LOG: Final = logging.getLogger(__name__)
_MAGIC: Final = b"FARTHING\x01"
_SUFFIX: Final = ".vectors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The vectors, shape (len(ids), dimension), of all rows of a scope up to the id `watermark`, by rising id."""

    watermark: int
    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]


class Snapshots:
    """One file a scope in `directory`, for the vectors of one embedder (`version`), of scopes with `least` vectors or
    more: fewer are read from the rows in some 20 ms. A file of another embedder or with another token than the rows
    have, a damaged or an unfinished one is none. What cannot be written is not there: it costs time at the next
    start."""

    def __init__(self, directory: Path, *, version: str, least: int = 2048) -> None:
        self.least = least
        self._directory = directory
        self._version = version
        with suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for draft in directory.glob(f"*{_SUFFIX}.*"):
                if not _runs(draft.suffix[1:]):
                    draft.unlink(missing_ok=True)

    def load(self, scope: bytes, token: bytes) -> Snapshot | None:
        """What was saved last, if it was with this token."""
        path = self._path(scope)
        try:
            return _read(path.read_bytes(), self._of(scope, token))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _LOG.info("semantic cache: a snapshot of vectors is not used (%s): they are read from the rows", error)
            self.drop(scope)
            return None

    def save(self, scope: bytes, token: bytes, snapshot: Snapshot) -> None:
        """Replace what was saved before, whole or not at all. Several processes may; the last one's stays."""
        path = self._path(scope)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                for part in _parts(snapshot, self._of(scope, token)):
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            _LOG.info("semantic cache: no snapshot of vectors was written (%s)", type(error).__name__)
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def drop(self, scope: bytes) -> None:
        """Forget a scope."""
        with suppress(OSError):
            self._path(scope).unlink(missing_ok=True)

    def scopes(self) -> list[bytes]:
        """Those that have a file."""
        return [bytes.fromhex(path.stem) for path in self._directory.glob(f"*{_SUFFIX}")]

    def _of(self, scope: bytes, token: bytes) -> dict[str, str]:
        return {"version": self._version, "scope": scope.hex(), "token": token.hex()}

    def _path(self, scope: bytes) -> Path:
        return self._directory / f"{scope.hex()}{_SUFFIX}"


def _runs(pid: str) -> bool:
    """True for the process that writes a draft: workers start while others end."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def _parts(snapshot: Snapshot, of: dict[str, str]) -> Iterator[bytes | memoryview]:
    ids = np.ascontiguousarray(snapshot.ids, np.int64).data.cast("B")
    vectors = np.ascontiguousarray(snapshot.vectors, np.float32).data.cast("B")
    head = {
        **of,
        "watermark": snapshot.watermark,
        "count": len(snapshot.ids),
        "dimension": snapshot.vectors.shape[1],
        "checksum": zlib.crc32(vectors, zlib.crc32(ids)),
    }
    text = json.dumps(head).encode()
    yield _MAGIC + struct.pack("<II", len(text), zlib.crc32(text)) + text
    yield ids
    yield vectors


def _read(data: bytes, of: dict[str, str]) -> Snapshot:
    """Raises ValueError where it is not what it should be."""
    start = len(_MAGIC) + 8
    if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
        raise ValueError("it is of another version")
    length, checksum = struct.unpack_from("<II", data, len(_MAGIC))
    text = data[start : start + length]
    if zlib.crc32(text) != checksum:
        raise ValueError("it is damaged")
    head: dict[str, Any] = json.loads(text)
    if any(head[name] != value for name, value in of.items()):
        raise ValueError("it is of another embedder or of other rows")
    return _arrays(memoryview(data)[start + length :], head)


def _arrays(data: memoryview, head: dict[str, Any]) -> Snapshot:
    count, dimension = head["count"], head["dimension"]
    if len(data) != count * (8 + 4 * dimension) or zlib.crc32(data) != head["checksum"]:
        raise ValueError("it is damaged")
    return Snapshot(
        watermark=head["watermark"],
        ids=np.frombuffer(data[: 8 * count], np.int64),
        vectors=np.frombuffer(data[8 * count :], np.float32).reshape(count, dimension),
    )
