"""A run that is killed leaves no program of an answer behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import asyncio
from evals.sandbox import Sandbox, SandboxLimits

CODE = "import time; open('began', 'w').close(); time.sleep(600)"
asyncio.run(Sandbox(SandboxLimits(wall_s=600)).passes(CODE, "assert True"))
"""
ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
def test_a_program_that_waits_ends_with_whoever_ran_it(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    )
    try:
        waited_for(lambda: any(tmp_path.glob("farthing-code-*/began")), run)
        (program,) = children(run.pid)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()

    waited_for(lambda: not Path(f"/proc/{program}").exists() or is_dead(program))


def waited_for(is_so: Callable[[], bool], run: "subprocess.Popen[bytes] | None" = None) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        assert run is None or run.poll() is None
        time.sleep(0.02)


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8")
    return [int(one) for one in found.split()]


def is_dead(process: int) -> bool:
    """A zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
