"""Tallies: what happens to counts when the disk is full or a sibling is only half there."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.tallies import ROWS_A_CHUNK, Tallies, shared_directory


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes fail as on a full disk, though with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return shared_directory(tmp_path)


@pytest.mark.parametrize("size", [0, 100, 40_000, 64 * 1024])
def test_on_a_full_disk_counting_goes_on_and_nothing_is_counted_twice(directory: Path, size: int) -> None:
    tallies = Tallies(directory)

    with files_limited_to(size):
        rows = [tallies.row((str(number),)) for number in range(ROWS_A_CHUNK + 5)]
    for row in rows:
        row[0] += 1

    totals = tallies.totals()
    assert len(totals) == len(rows)
    assert all(counts[0] == 1 for counts in totals.values())
    tallies.close()


def test_a_sibling_sees_the_counts_that_are_not_flushed(directory: Path) -> None:
    writer, reader = Tallies(directory), Tallies(directory)

    row = writer.row(("a",))
    row[3] += 7

    assert reader.totals()["a",][3] == 7
    writer.close()
    reader.close()


def test_half_a_key_and_a_file_without_its_pair_are_passed_over(directory: Path) -> None:
    tallies = Tallies(directory)
    tallies.row(("a",))[0] += 1
    (keys,) = directory.glob("*.keys")
    with keys.open("ab") as file:
        file.write(b'["half')
    (directory / "worker-x.keys").write_bytes(b'["b"]\n')

    assert list(tallies.totals()) == [("a",)]
    tallies.close()


def test_a_new_start_leaves_files_of_others_alone(directory: Path) -> None:
    (directory / "notes.txt").write_text("mine", encoding="utf-8")

    shared_directory(directory.parent)

    assert [path.name for path in directory.iterdir()] == ["notes.txt"]
