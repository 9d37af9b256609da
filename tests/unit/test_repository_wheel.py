"""The wheel: what is in the packages' folders is in what gets installed."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def packages() -> list[str]:
    """Top-level packages that are installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    return [name for name in (pattern.removesuffix("*") for pattern in patterns) if (ROOT / name).is_dir()]


def package_files() -> set[str]:
    files = [file for name in packages() for file in (ROOT / name).rglob("*") if file.is_file()]
    return {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}


def require_the_build_backend() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (backend,) = (Requirement(text) for text in project["build-system"]["requires"])
    try:
        installed = Version(version(backend.name))
    except PackageNotFoundError:
        pytest.skip(f"{backend} is not installed")
    if installed not in backend.specifier:
        pytest.skip(f"{backend} is not installed, but {installed}")


@pytest.fixture
def wheel(tmp_path: Path) -> set[str]:
    """Names in a wheel built from a copy of this tree."""
    require_the_build_backend()
    source = tmp_path / "source"
    for name in packages():
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta; build_meta.build_wheel('..')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_the_wheel_holds_every_file_of_the_packages_and_the_licence(wheel: set[str]) -> None:
    missing = package_files() - wheel

    assert missing == set()
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
