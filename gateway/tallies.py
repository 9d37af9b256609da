"""Tallies: exact integer counters in rows, private to one worker or shared with its siblings through files.

A worker alone keeps its rows in memory. With a directory, each worker owns a pair of files there: `*.keys`
(one JSON line for each row) and `*.rows` (for each row ROW_SLOTS 64-bit integers, mapped into memory). Only
the owner writes, with aligned 8-byte stores, so a sibling that reads sees whole numbers and no lock is taken.
What a worker counted outlives it: the sums stay right when workers come and go.
"""

import json
import mmap
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Final

Key = tuple[str, ...]

ROW_SLOTS: Final = 128
ROW_BYTES: Final = ROW_SLOTS * 8
ROWS_A_CHUNK: Final = 64
CHUNK_BYTES: Final = ROW_BYTES * ROWS_A_CHUNK
"""64 KiB: a multiple of every page size, as a mapping must start at one. Chunks never move, so rows stay
valid."""


def shared_directory(data_directory: Path) -> Path:
    """An empty directory for the tallies of the workers that start now; what earlier runs left there is
    removed.

    Call it once, before the first worker starts, and give the result to each of them.
    """
    directory = data_directory / "tallies"
    directory.mkdir(parents=True, exist_ok=True)
    for stale in (*directory.glob("*.keys"), *directory.glob("*.rows")):
        stale.unlink()
    return directory


class Tallies:
    """The rows of one worker, and the sums over all workers of its directory.

    Not thread-safe for writers: rows belong to the thread of the event loop. `totals` may run in another thread.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._rows: list[tuple[Key, memoryview]] = []
        self._chunks: list[mmap.mmap] = []
        self._files = None if directory is None else _Files(directory)
        self._unshared = 0
        """Index of the first row that the files do not hold; siblings cannot see it."""

    def row(self, key: Key) -> memoryview:
        """A new row of zeros (64-bit integers) under `key`; the caller keeps it and adds to its slots."""
        place = len(self._rows) % ROWS_A_CHUNK
        if place == 0:
            self._chunks.append(self._new_chunk())
        start = place * ROW_BYTES
        row = memoryview(self._chunks[-1])[start : start + ROW_BYTES].cast("q")
        self._rows.append((key, row))
        if self._files is not None:
            try:
                self._files.write_key(key)
                self._unshared = len(self._rows)
            except OSError:
                self._stop_sharing()
        return row

    def _new_chunk(self) -> mmap.mmap:
        if self._files is not None:
            try:
                return self._files.new_chunk()
            except OSError:
                self._stop_sharing()
        return mmap.mmap(-1, CHUNK_BYTES)

    def _stop_sharing(self) -> None:
        """A full disk must not end a request: count on in memory; only the siblings' pages lack the new rows."""
        if self._files is not None:
            self._files.close()
            self._files = None

    def totals(self) -> dict[Key, list[int]]:
        """The slots of every row by key, summed over all workers of the directory, dead ones included."""
        sums: dict[Key, list[int]] = {}
        shared = () if self._directory is None else _all_rows(self._directory)
        own = ((key, row.tolist()) for key, row in self._rows[self._unshared :])
        for key, row in chain(shared, own):
            known = sums.get(key)
            sums[key] = row if known is None else [a + b for a, b in zip(known, row, strict=True)]
        return sums

    def close(self) -> None:
        """Let the files go; the counts stay in them. Rows handed out must not be used any more."""
        for _, row in self._rows:
            row.release()
        self._rows.clear()
        for chunk in self._chunks:
            chunk.close()
        self._chunks.clear()
        self._stop_sharing()


class _Files:
    """The pair of files of one worker."""

    def __init__(self, directory: Path) -> None:
        # A name never used before: a process id may come again, and its counts must not start from another's.
        self._keys: IO[bytes] = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed by close()
            dir=directory, prefix="worker-", suffix=".keys", delete=False, buffering=0
        )
        self._rows = Path(self._keys.name).with_suffix(".rows").open("w+b", buffering=0)
        self._length = 0

    def new_chunk(self) -> mmap.mmap:
        """CHUNK_BYTES more of the rows file. Raises OSError.

        Zeros are written rather than a hole left: where the disk is full, a store into a hole kills the process.
        """
        if self._rows.write(bytes(CHUNK_BYTES)) != CHUNK_BYTES:
            raise OSError("the disk is full")
        chunk = mmap.mmap(self._rows.fileno(), CHUNK_BYTES, offset=self._length)
        self._length += CHUNK_BYTES
        return chunk

    def write_key(self, key: Key) -> None:
        """The key of the next row. Raises OSError."""
        line = json.dumps(key).encode() + b"\n"
        if self._keys.write(line) != len(line):
            raise OSError("the disk is full")

    def close(self) -> None:
        """Let go."""
        self._keys.close()
        self._rows.close()


def _all_rows(directory: Path) -> Iterator[tuple[Key, list[int]]]:
    for keys_path in sorted(directory.glob("*.keys")):
        rows_path = keys_path.with_suffix(".rows")
        if not rows_path.exists():  # the sibling is just starting
            continue
        # Keys first: a row exists before its key is written, so every key that is read has its row.
        keys = [line for line in keys_path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        data = memoryview(rows_path.read_bytes())
        for index, line in enumerate(keys):
            slots = data[index * ROW_BYTES : (index + 1) * ROW_BYTES].cast("q").tolist()
            yield tuple(json.loads(line)), slots
