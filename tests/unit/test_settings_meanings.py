"""Where the semantic cache is: `cache.semantic.url`, whose password stands in no file and is shown to nobody."""

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from farthing.errors import ConfigError
from farthing.ports import Embedder
from gateway.clock import SystemClock
from gateway.generations import needs_restart
from gateway.meanings import open_semantic, read_figures
from gateway.settings import EmbedderSettings, Settings, SettingsError, load
from gateway.stores import open_stores
from tests.unit.test_settings_ledger import TREE

SECRET = "hunter2"
URL = "postgresql://me:hunter2@127.0.0.1:1/answers"


def _nobody(settings: EmbedderSettings) -> Embedder:
    raise AssertionError(settings)


def load_url(directory: Path, url: str, **env: str) -> Settings:
    file = directory / "farthing.yaml"
    text = f"{TREE}data_dir: '{directory}'\ncache: {{semantic: {{url: '{url}'}}}}\n"
    file.write_text(text, encoding="utf-8")
    return load(file, env)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("none", ""),
        ("${WHOLE}", URL),
        ("postgresql://me:${PASSWORD}@127.0.0.1:1/answers", URL),
        ("postgresql://me@h/answers?sslmode=require", "postgresql://me@h/answers?sslmode=require"),
    ],
)
def test_an_address_is_taken_as_it_is_written(tmp_path: Path, url: str, meant: str) -> None:
    settings = load_url(tmp_path, url, PASSWORD=SECRET, WHOLE=URL)

    assert settings.cache.semantic.url == meant
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("url", [URL, "postgresql://h/answers?password=hunter2", "redis://:hunter2@h"])
def test_a_password_in_a_file_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_url(tmp_path, url)

    found = str(caught.value.findings[0])
    assert "cache.semantic.url: a database's password may not stand in a file; write postgresql://" in found
    assert SECRET not in found


def test_what_is_no_address_of_a_database_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_url(tmp_path, "${WHOLE}", WHOLE="redis://:hunter2@h:6379/0")

    found = str(caught.value.findings[0])
    assert "cache.semantic.url: the text (not shown) is not the address of a database" in found
    assert SECRET not in found


def test_another_address_takes_effect_at_the_next_start(tmp_path: Path) -> None:
    before, after = load_url(tmp_path, "none"), load_url(tmp_path, "${WHOLE}", WHOLE=URL)

    assert needs_restart(before, after) == ["cache.semantic.url"]


async def test_without_its_package_one_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_url(tmp_path, "${WHOLE}", WHOLE=URL)
    for name in ("cache.stores.postgres_epochs", "cache.stores.pgvector", "cache.vectors.pgvector"):
        monkeypatch.setitem(sys.modules, name, None)  # as where psycopg is missing

    with pytest.raises(ConfigError, match=r"needs the package psycopg.* pip install 'farthing\[postgres\]'"):
        open_stores(settings, SystemClock(), lambda task: task.close(), workers=False)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=r"needs the package psycopg"):
            await open_semantic(settings.cache.semantic, tmp_path / "semantic.db", SystemClock(), stack, _nobody)


def test_of_a_database_that_is_away_nothing_is_published(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")

    assert not read_figures(tmp_path / "semantic.db", URL).reports
