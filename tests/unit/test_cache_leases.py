"""Leases between the processes of a machine: held by one, until it lets go or dies."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cache.leases import FileLeases

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
HOLDER = """
import asyncio, sys
from pathlib import Path
from cache.leases import FileLeases

leases = FileLeases.open(Path(sys.argv[1]))
print(asyncio.run(leases.take(bytes(range(32)))), flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def leases(tmp_path: Path) -> AsyncIterator[FileLeases]:
    opened = FileLeases.open(tmp_path / "leases")
    yield opened
    await opened.close()


@contextmanager
def another_process(path: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """One that tries to take KEY, and says whether it has it."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


async def test_what_another_process_holds_is_not_taken_until_it_dies(tmp_path: Path, leases: FileLeases) -> None:
    with another_process(tmp_path / "leases") as (took, process):
        assert took == "True"
        assert not await leases.take(KEY)
        assert await leases.take(OTHER)

        process.kill()
        await asyncio.to_thread(process.wait)

        assert await leases.take(KEY)


async def test_what_is_held_here_is_not_taken_elsewhere_until_all_let_go(tmp_path: Path, leases: FileLeases) -> None:
    assert await leases.take(KEY)
    assert await leases.take(KEY)
    tried = []

    for held in (2, 1, 0):
        with another_process(tmp_path / "leases") as (took, _process):
            tried.append(took)
        if held:
            await leases.release(KEY)

    assert tried == ["False", "False", "True"]


async def test_the_file_stays_empty(tmp_path: Path, leases: FileLeases) -> None:
    await leases.take(KEY)

    assert (tmp_path / "leases").stat().st_size == 0
