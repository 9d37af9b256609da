"""The scripts and what calls them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(file for file in (ROOT / "scripts").iterdir() if file.is_file() and not file.suffix)
TARGETS = ("run", "test", "check", "fix", "bench", "soak")
SETUPTOOLS = (
    "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; "
    "enabled and __import__('_distutils_hack').add_shim(); "
)


def site_packages(venv: Path) -> Path:
    folder = venv / "lib" / "python3.12" / "site-packages"
    folder.mkdir(parents=True)
    return folder


def check_startup_files(venv: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(ROOT / "scripts" / "startup_files.py"), str(venv)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def find_python(wanted: str, path: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "scripts" / "python")]
    environment = {"PATH": path, "PYTHON": wanted}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])
class TestScript:
    def test_it_can_be_executed(self, script: Path) -> None:
        assert os.access(script, os.X_OK)

    def test_its_syntax_is_right(self, script: Path) -> None:
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0

    def test_it_says_its_job_and_stops_on_errors(self, script: Path) -> None:
        first, second, *rest = script.read_text(encoding="utf-8").splitlines()

        assert first == "#!/usr/bin/env bash"
        assert second.startswith("# ")
        assert any(re.match(r"set -e?uo pipefail", line) for line in rest)


def test_each_target_of_make_only_calls_the_script_of_its_name() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    recipes = dict(re.findall(r"^([a-z]+):.*\n\t@(.*)$", makefile, flags=re.MULTILINE))

    assert {target: recipes[target].split()[0] for target in TARGETS} == {
        target: f"scripts/{target}" for target in TARGETS
    }


def test_ci_runs_the_checks_and_the_tests() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert "scripts/check" in text
    assert "make test" in text


def test_the_demo_takes_the_place_of_its_script_so_that_one_signal_ends_all() -> None:
    text = (ROOT / "scripts" / "run").read_text(encoding="utf-8")

    assert text.splitlines()[-1].startswith("exec .venv/bin/farthing quickstart")


def test_a_python_that_is_new_enough_is_found() -> None:
    found = find_python(sys.executable, os.environ["PATH"])

    assert found.returncode == 0
    assert Path(found.stdout.strip()).samefile(sys.executable)


def test_without_a_usable_python_the_message_says_what_to_install() -> None:
    found = find_python("no-such-python", os.environ["PATH"])

    assert found.returncode == 1
    assert "Python 3.11 or newer" in found.stderr
    assert "python3-venv" in found.stderr


def test_an_environment_with_only_our_start_up_files_passes(tmp_path: Path) -> None:
    folder = site_packages(tmp_path)
    (folder / "distutils-precedence.pth").write_text(SETUPTOOLS)
    (folder / "__editable__.farthing-0.1.0.pth").write_text(f"{ROOT}\n")

    checked = check_startup_files(tmp_path)

    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("litellm_init.pth", "import os"),
        ("sitecustomize.py", ""),
        ("usercustomize.py", ""),
        ("distutils-precedence.pth", SETUPTOOLS + "import thief"),
        ("__editable__.farthing-0.1.0.pth", f"{ROOT}\nimport thief\n"),
    ],
)
def test_a_file_that_starts_with_python_and_is_not_ours_fails(tmp_path: Path, name: str, content: str) -> None:
    (site_packages(tmp_path) / name).write_text(content)

    checked = check_startup_files(tmp_path)

    assert checked.returncode == 1
    assert name in checked.stderr


def test_a_folder_that_is_no_environment_does_not_pass_as_clean(tmp_path: Path) -> None:
    assert check_startup_files(tmp_path).returncode == 1
