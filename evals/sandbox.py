"""Sandbox: runs the code of an answer with the suite's tests, where it can do little harm."""

import ast
import asyncio
import json
import os
import re
import secrets
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

CONFINED: Final = Path(__file__).with_name("confined.py")
UNCONFINED: Final = "unconfined: "
REPLY_MAX: Final = 1_000
"""Bytes of its reply that are read; nothing honest is longer."""
PROGRAM_MAX: Final = 100_000
IMPOSSIBLE: Final = "\nassert False, 'no program passes this'\n"
_BLOCK: Final = re.compile(r"```[ \t]*(?:python|py|python3)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_ESCAPES: Final = """
import os, socket, threading

def is_denied(work):
    try:
        work()
    except OSError:
        return True
    return False

def write_here():
    with open("here", "w") as file:
        file.write("x")

thread = threading.Thread(target=write_here)
thread.start()
thread.join()
"""
_ESCAPES_DENIED: Final = """
assert open("here").read() == "x"
assert is_denied(lambda: socket.socket())
assert is_denied(lambda: os.fork())
assert is_denied(lambda: os.execv("/bin/true", ["true"]))
assert is_denied(lambda: os.kill(os.getppid(), 0))
assert is_denied(lambda: os.listdir("/"))
assert is_denied(lambda: os.listdir(".."))
assert is_denied(lambda: open("/etc/passwd"))
assert is_denied(lambda: open("/proc/self/environ"))
assert is_denied(lambda: open("../outside", "w"))
assert is_denied(lambda: os.chmod("here", 0o777))
"""


class SandboxUnavailable(Exception):
    """Code cannot be confined here; the message says why. Nothing was run."""


class Ran(Enum):
    """How a run ended."""

    PASSED = "passed"
    FAILED = "failed"
    OVER_TIME = "over time"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """What one run may use: processor and clock seconds, bytes of memory and of each file, open files."""

    cpu_s: int = 5
    wall_s: float = 10.0
    memory_bytes: int = 512 * 2**20
    file_bytes: int = 2**20
    files: int = 32


class Sandbox:
    """Runs programs one by one, each in a process and a folder of its own that end with it.

    The first run is its own attempt at what must be impossible: a machine on which that succeeds runs nothing.
    """

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        self._limits = limits or SandboxLimits()
        self._is_proven = False

    async def passes(self, code: str, tests: str) -> bool:
        """Whether the tests hold after the code. Raises SandboxUnavailable.

        A pass is put to the same tests and one that no program passes: code that ends the process early, or says that
        all went well, passes those too, and has passed nothing.
        """
        await self._prove()
        if await self._run(code, tests) is not Ran.PASSED:
            return False
        return await self._run(code, tests + IMPOSSIBLE) is not Ran.PASSED

    async def _prove(self) -> None:
        if not self._is_proven:
            if await self._run(_ESCAPES, _ESCAPES_DENIED) is not Ran.PASSED:
                raise SandboxUnavailable("what must be impossible inside the sandbox was possible, or Python broke")
            self._is_proven = True

    async def _run(self, code: str, tests: str) -> Ran:
        secret = secrets.token_hex(16)
        limits = self._limits
        asked = {
            "code": code,
            "tests": tests,
            "secret": secret,
            "limits": {
                "cpu_s": limits.cpu_s,
                "memory_bytes": limits.memory_bytes,
                "file_bytes": limits.file_bytes,
                "files": limits.files,
            },
        }
        with tempfile.TemporaryDirectory(prefix="farthing-code-", ignore_cleanup_errors=True) as folder:
            try:
                async with asyncio.timeout(limits.wall_s):
                    said = await _reply(json.dumps(asked).encode(), folder)
            except TimeoutError:
                return Ran.OVER_TIME
        if said.startswith(UNCONFINED.encode()):
            raise SandboxUnavailable(said.decode("utf-8", "replace").removeprefix(UNCONFINED))
        return Ran.PASSED if said == secret.encode() else Ran.FAILED


async def _reply(asked: bytes, folder: str) -> bytes:
    """What the process wrote, read no further than an honest reply goes; it and its group are gone afterwards."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(CONFINED),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxUnavailable(f"Python did not start: {error.strerror}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(asked)
        await process.stdin.drain()
        process.stdin.close()
        said = b""
        while len(said) < REPLY_MAX and (part := await process.stdout.read(REPLY_MAX)):
            said += part
        return said
    except (BrokenPipeError, ConnectionResetError):
        return b""
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it and close its pipes: what it wrote before is read to its end, which is a pipe's content at most."""
    assert process.stdin is not None
    assert process.stdout is not None
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.stdin.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.wait_closed()
    while await process.stdout.read(REPLY_MAX):
        pass
    await process.wait()


def code_in(output: str) -> str:
    """The program in an answer: its fenced blocks of Python one after the other, else all of it."""
    blocks = _BLOCK.findall(output)
    return "\n".join(blocks) if blocks else output


def fault_of_tests(tests: object) -> str:
    """What is wrong with the tests of a `code` assertion; empty if nothing."""
    if not isinstance(tests, str) or not tests.strip():
        return "`value` is Python that tests the answer's code, with at least one `assert`"
    try:
        parsed = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"the tests are not valid Python: {error}"
    if not any(isinstance(node, ast.Assert) for node in ast.walk(parsed)):
        return "the tests have no `assert`: any code at all would pass"
    return ""
