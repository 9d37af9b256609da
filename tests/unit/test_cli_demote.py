"""The command that takes a task from a tier."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evals.cardfiles import CardFiles
from evals.scorecards import ScorecardStore
from gateway.cli import app
from tests.gateway import write_tree
from tests.unit.test_demotions import CARD


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_tree(tmp_path, "http://127.0.0.1:1/v1")


def demote(config: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["eval", "demote", *words, "--config", str(config)])
    return done.exit_code, done.output


def test_a_demotion_is_on_record_and_a_run_is_asked_for(config: Path, tmp_path: Path) -> None:
    code, said = demote(config, "triage", "small", "--reason", "complaints", "--hours", "2")

    assert code == 0
    assert said.startswith("small has lost triage; a pass of the same suite counts again from 2")
    with ScorecardStore(tmp_path / "data" / "evals.db") as store:
        (demotion,) = store.demotions("triage")
        (asked,) = store.queue()
    assert (demotion.tier, demotion.cause, demotion.detail) == ("small", "operator", "complaints")
    assert demotion.until_ns - demotion.at_ns == 2 * 3_600 * 10**9
    assert (asked.task, asked.tier, asked.reason) == ("triage", "small", "complaints")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("unheard-of", "small", "--reason", "x"), "There is no task 'unheard-of': the configuration has triage."),
        (("triage", "large", "--reason", "x"), "'large' is no candidate for triage"),
        (("triage", "small", "--reason", "two\nlines"), "The reason stands in a header"),
    ],
)
def test_what_cannot_be_demoted_is_refused(config: Path, words: tuple[str, ...], said: str) -> None:
    code, output = demote(config, *words)

    assert code == 2
    assert said in output


def test_the_pass_that_is_lost_is_known_from_its_file_too(config: Path, tmp_path: Path) -> None:
    with (config / "farthing.yaml").open("a") as file:
        file.write(f"evals: {{feature: chat, scorecards: files, scorecards_dir: {tmp_path / 'cards'}}}\n")
    CardFiles(tmp_path / "cards").write(CARD)

    code, _ = demote(config, "triage", "small", "--reason", "complaints")

    with ScorecardStore(tmp_path / "data" / "evals.db") as store:
        (demotion,) = store.demotions("triage")
    assert (code, demotion.suite_hash, demotion.models) == (0, CARD.suite_hash, CARD.models)
