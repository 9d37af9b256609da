"""Prices written into the configuration: the text around them stays as it was."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from farthing.errors import ConfigError, InvalidParameter
from gateway import cli
from gateway.pricelists import read_price_list
from gateway.pricesfile import update

TEXT = """# Our prices.

prices:
  # Own server.
  - provider: local   # in the cellar
    model: smol
    input_per_mtok: 0.10  # a guess
    output_per_mtok: 0.20
    valid_from: 2026-01-01
    # why
    reason: our own server

  # Flow.
  - {provider: local, model: big, input_per_mtok: 1, output_per_mtok: 2}

# The end.
other: 1
"""
SMOL = {"provider": "local", "model": "smol", "input_per_mtok": "0.1", "output_per_mtok": "0.3"}
BIG = {"provider": "local", "model": "big", "input_per_mtok": "1", "output_per_mtok": "5"}


def entry(base: Mapping[str, str], day: str, **members: str) -> dict[str, str]:
    return {**base, "valid_from": day, **members}


def changes(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_a_price_of_the_same_day_is_corrected_in_place() -> None:
    edited = update(TEXT, [entry(SMOL, "2026-01-01")])

    assert edited.did == ("changed",)
    assert changes(TEXT, edited.text) == ["-    output_per_mtok: 0.20", "+    output_per_mtok: 0.3"]


def test_a_price_of_another_day_comes_behind_those_of_its_model() -> None:
    edited = update(TEXT, [entry(SMOL, "2026-06-01")])

    assert edited.did == ("added",)
    assert changes(TEXT, edited.text) == [
        "+  - provider: local",
        "+    model: smol",
        "+    input_per_mtok: 0.1",
        "+    output_per_mtok: 0.3",
        "+    valid_from: 2026-06-01",
    ]
    models = [(one["model"], str(one.get("valid_from"))) for one in yaml.safe_load(edited.text)["prices"]]
    assert models == [("smol", "2026-01-01"), ("smol", "2026-06-01"), ("big", "None")]


def test_a_price_that_is_in_force_already_is_left() -> None:
    edited = update(TEXT, [entry({**SMOL, "output_per_mtok": "0.2"}, "2026-06-01")])

    assert (edited.did, edited.text) == (("unchanged",), TEXT)


def test_a_return_to_an_older_price_is_a_change() -> None:
    raised = update(TEXT, [entry(SMOL, "2026-06-01")]).text

    edited = update(raised, [entry({**SMOL, "output_per_mtok": "0.2"}, "2026-09-01")])

    assert edited.did == ("added",)


def test_a_member_that_is_missing_is_added_to_its_entry() -> None:
    edited = update(TEXT, [entry(SMOL, "2026-01-01", cache_read_per_mtok="0.01", output_per_mtok="0.2")])

    assert changes(TEXT, edited.text) == ["+    cache_read_per_mtok: 0.01"]
    assert yaml.safe_load(edited.text)["prices"][0]["cache_read_per_mtok"] == 0.01


def test_an_entry_in_braces_is_edited_in_its_braces() -> None:
    edited = update(TEXT, [{**BIG, "valid_from": ""}])

    assert "{provider: local, model: big, input_per_mtok: 1, output_per_mtok: 5" in edited.text


def test_a_list_in_brackets_stays_one() -> None:
    text = "prices: [{provider: local, model: big, input_per_mtok: 1, output_per_mtok: 2}]  # all\n"

    edited = update(text, [entry(BIG, "2026-01-01")])

    assert edited.text.startswith("prices: [{provider: local, model: big, input_per_mtok: 1, output_per_mtok: 2}, {")
    assert edited.text.endswith("]  # all\n")
    assert len(yaml.safe_load(edited.text)["prices"]) == 2


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "prices: []\n", "prices:\n", "prices:   # none yet\nother: 1\n", "other: 1", "prices: []"],
)
def test_the_first_price_makes_the_list(text: str) -> None:
    edited = update(text, [entry(SMOL, "2026-01-01"), entry(BIG, "2026-01-01")])

    read = yaml.safe_load(edited.text)
    assert [one["model"] for one in read["prices"]] == ["smol", "big"]
    assert read.get("other", 1) == 1
    assert ("# none yet" in edited.text) == ("# none yet" in text)


def test_service_tiers_and_context_steps_are_prices_of_their_own() -> None:
    edited = update(
        TEXT,
        [
            entry(SMOL, "2026-01-01", service_tier="flex"),
            entry(SMOL, "2026-01-01", above_input_tokens="200000"),
            entry({**SMOL, "output_per_mtok": "0.2"}, "2026-01-01", above_input_tokens="0"),
        ],
    )

    assert edited.did == ("added", "added", "changed")
    assert len(yaml.safe_load(edited.text)["prices"]) == 4


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "prices: [1]\n", "{other: 1}"])
def test_what_cannot_be_edited_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="othing was changed"):
        update(text, [entry(SMOL, "2026-01-01")])


texts = st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=1, max_size=12).map(str.strip)
names = st.sampled_from(("smol", "big", "new", "a-b:c/d"))
wanted = st.fixed_dictionaries(
    {
        "provider": st.just("local"),
        "model": names,
        "input_per_mtok": st.sampled_from(("0", "1", "2.50")),
        "output_per_mtok": st.sampled_from(("1", "7")),
        "valid_from": st.sampled_from(("2026-01-01", "2026-06-01", "2025-01-01")),
        "reason": texts.filter(bool),
    }
)
comments = st.lists(st.sampled_from(("# one", "  # two", "")), max_size=2)


@given(st.lists(wanted, max_size=5), st.sampled_from((TEXT, "", "prices: []\n", TEXT.replace("other: 1\n", ""))))
def test_whatever_is_written_is_read_back_and_no_line_is_lost(entries: list[dict[str, str]], text: str) -> None:
    edited = update(text, entries)

    if entries:
        read = [{k: str(v) for k, v in one.items()} for one in yaml.load(edited.text, yaml.BaseLoader)["prices"]]
        in_force = {(one["model"], one.get("valid_from", "")): one for one in read}
        assert len(in_force) == len(read)
        for one, deed in zip(entries, edited.did, strict=True):
            if deed == "added":
                assert (one["model"], one["valid_from"]) in in_force
    assert update(edited.text, entries[-1:]).did == ("unchanged",) * len(entries[-1:])
    kept = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in edited.text.splitlines() if line.lstrip().startswith("#")] == kept


# --- lists of prices -----------------------------------------------------------------------------


def write(tmp_path: Path, name: str, content: Any) -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    table = "Provider,Model,input_per_mtok,output_per_mtok,valid_from,free\nlocal,smol,0.10,1e-5,,\n"
    members = [{"provider": "local", "model": "smol", "input_per_mtok": "0.10", "output_per_mtok": 1e-5}]

    expected = [
        {
            "provider": "local",
            "model": "smol",
            "input_per_mtok": "0.10",
            "output_per_mtok": "0.00001",
            "valid_from": "2026-11-24",
        }
    ]
    assert read_price_list(write(tmp_path, "a.csv", table), "2026-11-24") == expected
    assert read_price_list(write(tmp_path, "a.json", members), "2026-11-24") == expected
    assert read_price_list(write(tmp_path, "b.json", {"prices": members}), "2026-11-24") == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("provider,model,input_per_mtok,output_per_mtok\nlocal,smol,-1,2\n", ":2: input_per_mtok"),
        ("provider,model,input_per_mtok\nlocal,smol,1\n", "output_per_mtok: is missing"),
        ("provider,model,price\nlocal,smol,1\n", "'price' is no member of a price"),
        ("provider,model,input_per_mtok,output_per_mtok,valid_from\nlocal,smol,1,1,soon\n", "valid_from"),
        ("provider,model\n", "has no price"),
        ("[1]", "cannot be read"),
        ("{", "cannot be read"),
        ('{"prices": 1}', "cannot be read"),
        ('[{"model": "smol", "input_per_mtok": 1, "output_per_mtok": 1}]', ":1: provider"),
    ],
)
def test_a_list_that_cannot_be_used_is_told_line_by_line(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(InvalidParameter, match=told):
        read_price_list(write(tmp_path, "list", content), "2026-11-24")


# --- the command ---------------------------------------------------------------------------------

CONFIG = """
providers:
  local: {kind: llamacpp, base_url: "http://127.0.0.1:1/v1"}
tiers:
  - {name: small, deployments: [{provider: local, model: smol}]}
default_tier: small
features: {search: {}}
keys: []
"""


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["prices", "update", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    write(directory, "farthing.yaml", CONFIG)
    write(directory, "prices.yaml", TEXT.replace("other: 1\n", ""))
    return directory


def test_the_command_shows_the_difference_and_writes_it(config: Path, tmp_path: Path) -> None:
    listed = write(tmp_path, "new.json", [SMOL])
    before = (config / "prices.yaml").read_text()

    told = run(listed, "--config", config, "--valid-from", "2026-06-01", "--dry-run")
    after_dry_run = (config / "prices.yaml").read_text()
    done = run(listed, "--config", config, "--valid-from", "2026-06-01")
    again = run(listed, "--config", config, "--valid-from", "2026-06-01")

    assert "+    valid_from: 2026-06-01" in told
    assert "1 added, 0 changed, 0 unchanged (dry run" in told
    assert after_dry_run == before
    assert "1 added, 0 changed, 0 unchanged\n" in done
    assert "0 added, 0 changed, 1 unchanged" in again
    assert yaml.safe_load((config / "prices.yaml").read_text())["prices"][1]["output_per_mtok"] == 0.3
    assert sorted(path.name for path in config.iterdir()) == ["farthing.yaml", "prices.yaml"]


def test_without_a_list_of_prices_a_file_is_made(config: Path, tmp_path: Path) -> None:
    (config / "prices.yaml").unlink()

    run(write(tmp_path, "new.json", [SMOL]), "--config", config)

    assert yaml.safe_load((config / "prices.yaml").read_text())["prices"][0]["model"] == "smol"


def test_a_configuration_of_one_file_is_edited_in_it(config: Path, tmp_path: Path) -> None:
    single = write(tmp_path, "all.yaml", CONFIG + TEXT.replace("other: 1\n", ""))

    run(write(tmp_path, "new.json", [SMOL]), "--config", single)

    assert len(yaml.safe_load(single.read_text())["prices"]) == 3


def test_prices_with_which_the_configuration_could_not_be_used_are_not_written(config: Path, tmp_path: Path) -> None:
    before = (config / "prices.yaml").read_text()

    told = run(write(tmp_path, "new.json", [{**SMOL, "provider": "nobody"}]), "--config", config, code=2)

    assert "could not be used" in told
    assert str(config / "prices.yaml") in told
    assert (config / "prices.yaml").read_text() == before
