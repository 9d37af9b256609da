"""An eval run whose process is killed: what was paid is not paid again, and the verdict is the same."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from evals.options import CONCURRENCY
from tests.processes import ROOT, until
from tests.unit.test_cli_eval_run import Serving, eval_run, gateway, place

__all__ = ["gateway", "place"]  # fixtures


async def test_a_killed_run_goes_on_where_it_was_and_pays_only_what_was_in_flight_twice(
    gateway: Serving,
    place: Path,
) -> None:
    gateway.hangs_after = 27  # in the midst of the candidate's questions
    command = ["eval", "run", "mine", "--base-url", gateway.url, "--api-key-env", "MY_KEY"]
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *command),
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await until(lambda: len(gateway.questions) >= 29)

    run.send_signal(signal.SIGKILL)
    await run.wait()
    gateway.hangs_after = None
    gateway.goes_on.set()
    resumed = await asyncio.to_thread(eval_run, gateway)

    twice = [question for question, times in Counter(gateway.questions).items() if times > 1]
    assert len(twice) <= CONCURRENCY
    assert "small: promoted: e-value" in resumed
    again = await asyncio.to_thread(eval_run, gateway)
    assert [line for line in again.splitlines() if line.startswith("small: ")] == [
        line for line in resumed.splitlines() if line.startswith("small: ")
    ]
