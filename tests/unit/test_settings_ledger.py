"""Where the books are: `ledger.url`, whose password stands in no file and is shown to nobody."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from farthing.errors import ConfigError
from gateway import cli
from gateway.ledgers import LedgerEngine
from gateway.settings import Settings, SettingsError, load
from gateway.settings.values import LedgerSettings
from ledger.sqlite_file import SQLiteFile

TREE = """\
providers:
  box: {kind: openai, api_key: none}
tiers:
  - {name: one, deployments: [{provider: box, model: m}]}
prices:
  - {provider: openai, model: m, input_per_mtok: 1, output_per_mtok: 2}
"""
SECRET = "hunter2"


def load_url(directory: Path, url: str, **env: str) -> Settings:
    file = directory / "farthing.yaml"
    file.write_text(f"{TREE}ledger: {{url: '{url}'}}\n", encoding="utf-8")
    return load(file, env)


def refusal(directory: Path, url: str, **env: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_url(directory, url, **env)
    assert len(caught.value.findings) == 1, caught.value.findings
    return str(caught.value.findings[0]).removeprefix(f"{directory}/farthing.yaml:")


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("none", ""),
        ("${WHOLE}", "postgresql://me:hunter2@h/books"),
        ("postgresql://me:${PASSWORD}@h/books", "postgresql://me:hunter2@h/books"),
        ("postgres://me:${PASSWORD}@h:5433/books", "postgres://me:hunter2@h:5433/books"),
        ("postgresql://me:${PASSWORD}@h1:1,h2:65535/books", "postgresql://me:hunter2@h1:1,h2:65535/books"),
        ("postgresql://me:${PASSWORD}@[::1]:5432/books", "postgresql://me:hunter2@[::1]:5432/books"),
        ("postgresql://me@h/books?sslmode=require", "postgresql://me@h/books?sslmode=require"),
        ("postgresql:///books?host=/run/postgresql", "postgresql:///books?host=/run/postgresql"),
        ("postgresql://h/${NAME}", "postgresql://h/books"),
    ],
)
def test_an_address_is_taken_as_it_is_written(tmp_path: Path, url: str, meant: str) -> None:
    env = {"PASSWORD": SECRET, "NAME": "books", "WHOLE": "postgresql://me:hunter2@h/books"}

    settings = load_url(tmp_path, url, **env)

    assert settings.ledger.url == meant
    assert SECRET not in repr(settings)
    LedgerEngine(settings.ledger, tmp_path / "ledger.db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@h/books",
        "postgresql://:hunter2@h/books",
        "postgresql://me:hun%74er2@h/books",
        "postgresql://me:${PASSWORD}hunter2@h/books",
        "postgresql://me:${PASSWORD:-hunter2}@h/books",
        "postgresql://me:hunter2@h1,h2:5433/books",
        "POSTGRESQL://me:hunter2@h/books",
        "postgresql://h/books?password=hunter2",
        "postgresql://h/books?user=me&password=hunter2",
        "postgresql://h/books?pass%77ord=hunter2",
        "postgresql://h/books?PASSWORD=hunter2",
        "postgresql://h/books?sslpassword=hunter2",
        "postgresql://me:${PASSWORD}@h/books?password=hunter2",
        "host=h dbname=books password=hunter2",
    ],
)
def test_a_password_in_a_file_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    found = refusal(tmp_path, url, PASSWORD="other-secret")

    assert found.startswith("7:15: ledger.url: a database's password may not stand in a file; write ")
    assert SECRET not in found
    assert "hun%74er2" not in found
    assert "other-secret" not in found


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:${PASSWORD}@h/books",
        "postgresql+psycopg://me:${PASSWORD}@h/books",
        "postgresql:me:hunter2@h/books",
        "//me:${PASSWORD}@h/books",
        "postgresql://me:${PASSWORD}@h",
        "postgresql://me:${PASSWORD}@h/",
        "postgresql://me:${PASSWORD}@h:0/books",
        "postgresql://me:${PASSWORD}@h:65536/books",
        "postgresql://me:${PASSWORD}@h:port/books",
        "postgresql://me:${PASSWORD}@[::1/books",
        "host=h dbname=books",
        "${PASSWORD}",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    found = refusal(tmp_path, url, PASSWORD=SECRET)

    assert found.startswith(
        "7:15: ledger.url: the text (not shown) is not the address of a database; write postgresql:"
    )
    assert SECRET not in found


@pytest.mark.parametrize("password", ["hunter2@x", "hunter2/x", "hunter2?x", "hunter2#x", "12/hunter2", "@hunter2"])
def test_a_password_that_is_not_percent_encoded_is_not_taken_for_a_server(tmp_path: Path, password: str) -> None:
    written = refusal(tmp_path, "postgresql://me:${PASSWORD}@h/books", PASSWORD=password)
    whole = refusal(tmp_path, "${WHOLE}", WHOLE=f"postgresql://me:{password}@h/books")

    assert "percent-encoded" in written
    assert "percent-encoded" in whole
    assert SECRET not in written + whole


@pytest.mark.parametrize(
    "url", ["postgresql://me:50%hunter2@h/books", "postgresql://h/books?hunter2", "postgresql://h/b?hunter2=1"]
)
def test_what_the_driver_does_not_understand_is_said_without_it(tmp_path: Path, url: str) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: scripts/install postgres")
    settings = load_url(tmp_path, "${WHOLE}", WHOLE=url)

    with pytest.raises(ConfigError, match=r"`ledger\.url` is no address") as refused:
        LedgerEngine(settings.ledger, tmp_path / "ledger.db")

    assert SECRET not in refused.value.message
    assert refused.value.__cause__ is None


def test_an_empty_variable_is_said_to_be_empty(tmp_path: Path) -> None:
    assert "ledger.url" in refusal(tmp_path, "${WHOLE}", WHOLE="")


def test_without_its_package_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ledger.postgres_database", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(ConfigError, match=r"needs the package psycopg.* pip install 'farthing\[postgres\]'"):
        LedgerEngine(LedgerSettings(url="postgresql://me:hunter2@h/books"), Path("ledger.db"))


def test_without_an_address_the_books_are_a_file_and_no_package_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ledger.postgres_database", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    engine = LedgerEngine(LedgerSettings(), Path("ledger.db"))

    assert engine.database == SQLiteFile(Path("ledger.db"))


def test_the_check_of_a_configuration_shows_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_url(tmp_path, "${WHOLE}", WHOLE="postgresql://me:hunter2@h/books")
    monkeypatch.setenv("WHOLE", "postgresql://me:hunter2@127.0.0.1:1/books")

    told = CliRunner().invoke(cli.app, ["check", "--config", str(tmp_path / "farthing.yaml")])

    assert told.exit_code == 0, told.output
    assert SECRET not in told.output
