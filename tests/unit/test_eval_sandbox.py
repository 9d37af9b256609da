"""Code of answers is run where it can do little harm, and what it says of itself is not believed."""

import platform
import sys
from pathlib import Path

import pytest

from evals.answers import GradedAnswer
from evals.grading import GraderTools, grade_answer
from evals.sandbox import Sandbox, SandboxLimits, SandboxUnavailable, code_in, fault_of_tests
from evals.suite import Assertion, Item

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"}, reason="the sandbox is Linux's"
)
QUICK = SandboxLimits(cpu_s=1, wall_s=5, memory_bytes=256 * 2**20)
GOOD = "def add(a, b):\n    return a + b"
TESTS = "assert add(1, 2) == 3"
FORGED = """
import os, sys
frame = sys._getframe()
while frame:
    if "asked" in frame.f_locals:
        os.write(frame.f_locals["told"], frame.f_locals["asked"]["secret"].encode())
        os._exit(0)
    frame = frame.f_back
"""
FLOOD = """
import os
for number in range(3, 32):
    try:
        os.write(number, b"x" * 10_000_000)
    except OSError:
        pass
"""


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        (GOOD, True),
        ("import json, re, math, collections, datetime, random\n" + GOOD, True),
        ("print('said'); " + "import sys; sys.stderr.write('said')\n" + GOOD, True),
        ("def add(a, b):\n    return a - b", False),
        ("def add(a, b", False),
        ("", False),
        ("raise SystemExit(0)", False),
        ("import os; os._exit(0)", False),
        (FORGED, False),
        (FLOOD, False),
        ("x = 'a' * 10 ** 10\n" + GOOD, False),
        ("while True: pass", False),
    ],
)
async def test_code_passes_where_every_test_holds_and_no_trick_does(code: str, passes: bool) -> None:
    assert await Sandbox(QUICK).passes(code, TESTS) is passes


async def test_code_that_waits_is_ended() -> None:
    patient = Sandbox(SandboxLimits(wall_s=1.0))

    assert await patient.passes("import time; time.sleep(600)", TESTS) is False


# Each must fail inside the sandbox; the tests outside it show that they would have worked.
@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.kill(os.getppid(), 0)",
        "import os; os.listdir('/')",
        "open('/etc/hostname').read()",
        "open('/proc/self/environ').read()",
        "open({outside!r}).read()",
        "open({outside!r}, 'w')",
        "import os; os.remove({outside!r})",
        "import os; os.truncate({outside!r}, 0)",
        "import os; os.chmod({outside!r}, 0o777)",
        "import os; os.symlink({outside!r}, 'link'); open('link').read()",
        "import os; os.link({outside!r}, 'link')",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (9, 9))",
        "open('large', 'wb').write(b'x' * 2_000_000)",
        "import ctypes; assert ctypes.CDLL(None).socket(2, 1, 0) >= 0",
    ],
)
async def test_what_reaches_beyond_the_process_is_denied(attempt: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret", encoding="utf-8")
    tried = attempt.format(outside=str(outside))
    code = f"did = True\ntry:\n    {tried}\nexcept (OSError, ValueError, AssertionError):\n    did = False"

    assert await Sandbox(QUICK).passes(code, "assert not did") is True
    assert outside.read_text(encoding="utf-8") == "secret"


async def test_code_may_write_where_it_is_and_start_threads_and_nothing_stays() -> None:
    code = """
import os, threading
def work():
    with open("note", "w") as file:
        file.write("x")
thread = threading.Thread(target=work)
thread.start()
thread.join()
here = os.getcwd()
"""

    assert await Sandbox(QUICK).passes(code, "assert open('note').read() == 'x' and 'farthing-code-' in here") is True


async def test_a_machine_that_cannot_confine_runs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))

    with pytest.raises(SandboxUnavailable, match="Python did not start"):
        await Sandbox(QUICK).passes(GOOD, TESTS)


CODE = Assertion(type="code", value=TESTS, place="suite.yaml:7")


def item(assertion: Assertion) -> Item:
    return Item(messages=(), assertions=(assertion,), max_tokens=8, temperature=0)


@pytest.mark.parametrize(
    ("output", "score"),
    [(f"Here it is:\n```python\n{GOOD}\n```\nEnjoy.", 1), (GOOD, 1), ("I cannot do that.", 0), ("", 0)],
)
async def test_an_answer_is_graded_by_the_tests_of_the_suite(output: str, score: float) -> None:
    found = await grade_answer(item(CODE), GradedAnswer(text=output), GraderTools(sandbox=Sandbox(QUICK)))

    assert (found.score, found.error) == (score, "")


async def test_without_a_sandbox_the_item_has_no_grade() -> None:
    found = await grade_answer(item(CODE), GradedAnswer(text=GOOD), GraderTools())

    assert found.score is None
    assert found.error.startswith("suite.yaml:7: code: ")


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("x = 1", "x = 1"),
        ("Look:\n```python\nx = 1\n```\nand\n```py\ny = 2\n```\n", "x = 1\n\ny = 2\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1", "```python\nx = 1"),
    ],
)
def test_the_program_is_what_stands_in_fences_else_everything(output: str, code: str) -> None:
    assert code_in(output) == code


@pytest.mark.parametrize(
    ("tests", "fault"),
    [
        (TESTS, ""),
        ("for n in range(3):\n    assert add(n, n) == 2 * n", ""),
        ("add(1, 2)", "no `assert`"),
        ("assert (", "not valid Python"),
        ("", "`value` is Python"),
        (None, "`value` is Python"),
        ("a\0", "not valid Python"),
    ],
)
def test_tests_that_test_nothing_are_found_when_the_suite_is_read(tests: object, fault: str) -> None:
    found = fault_of_tests(tests)

    assert fault in found if fault else found == ""
