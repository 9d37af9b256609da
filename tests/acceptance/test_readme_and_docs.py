"""The documents keep their word: what they show runs, what they link to is there."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.gateway import KEY, running_gateway

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SHOWN_ADDRESS = "http://127.0.0.1:4141"
MACHINE = re.compile(
    r"/work/|/tmp/|/home/\w|/root/|/Users/\w|/private/|\bpypi\.[a-z]+\.(?!org)|index-url|artifactory|nexus"
)


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return [code for found, code in BLOCK.findall(README) if found == language]


async def run_against_a_gateway(folder: Path, code: str, *command: str) -> str:
    """Run the code with the address of a real gateway in the place of the one it shows; what it printed."""
    async with running_gateway(folder) as gateway:
        file = gateway.config / "farthing.yaml"
        file.write_text(file.read_text().replace("features:\n", "features:\n  playground: {team: web}\n", 1))
        for _ in range(2):
            await gateway.application.house.tick()
        assert SHOWN_ADDRESS in code
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, code.replace(SHOWN_ADDRESS, gateway.base_url.removesuffix("/v1"))],
            env={**os.environ, "FARTHING_API_KEY": KEY, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (record,) = gateway.records()
        assert (record.status, record.tags.feature) == (200, "playground")
        return done.stdout


@pytest.mark.skipif(find_spec("openai") is None, reason="the package openai is not installed")
async def test_the_python_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = blocks("python")

    printed = await run_against_a_gateway(tmp_path, code, sys.executable, "-c")

    assert printed.strip() == "echo: Hello!"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_curl_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = [block for block in blocks("sh") if "curl" in block]

    printed = await run_against_a_gateway(tmp_path, code, "sh", "-c")

    assert "echo: What is the capital of France?" in printed


def test_the_javascript_of_the_readme_asks_for_the_same(tmp_path: Path) -> None:
    (code,) = blocks("js")

    assert f'baseURL: "{SHOWN_ADDRESS}/v1"' in code
    assert "process.env.FARTHING_API_KEY" in code
    assert '"x-farthing-feature": "playground"' in code
    if shutil.which("node") is not None:
        file = tmp_path / "first-call.mjs"
        file.write_text(code, encoding="utf-8")
        checked = subprocess.run(["node", "--check", file], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_the_readme_is_short_and_names_the_two_commands() -> None:
    assert len(README.splitlines()) < 120
    assert re.search(r"^make run\b", README, re.MULTILINE)
    assert re.search(r"^make test\b", README, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^run:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_points_to_something_that_is_there(document: Path) -> None:
    targets = [target for target in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in target]

    missing = [
        target
        for target in targets
        if not target.startswith(("#", "mailto:")) and not (document.parent / target.partition("#")[0]).exists()
    ]

    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_document_names_the_machine_it_was_written_on(document: Path) -> None:
    text = document.read_text(encoding="utf-8")

    assert MACHINE.findall(text) == []
