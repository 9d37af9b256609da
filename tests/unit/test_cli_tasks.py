"""`farthing tasks`: the hash of a system prompt, and the prompts that no task claims."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.promptbook import PromptBook
from router_policies.prompthash import PREFIX, prompt_hash

TREE = """\
providers: {{box: {{kind: vllm}}}}
tiers: [{{name: small, deployments: [{{provider: box, model: tiny}}]}}]
features: {{support: {{}}}}
data_dir: {data}
tasks: {{sorting: {{bar: 0.9, reference: small, system_prompts: ["{claimed}"]}}}}
"""
CLAIMED, OTHER = prompt_hash("Claimed."), prompt_hash("Other.")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "farthing.yaml"
    file.write_text(TREE.format(data=tmp_path / "data", claimed=PREFIX + CLAIMED), encoding="utf-8")
    return file


def run(*arguments: str | Path, code: int = 0, given: str = "") -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    assert result.exit_code == code, result.output
    return result.output


def test_the_hash_of_a_file_is_that_of_its_text_whatever_white_space_is_around_it(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"\r\nOther. \r\n")

    assert run("tasks", "hash", file) == f"{PREFIX}{OTHER}\n"
    assert run("tasks", "hash", "-", given="Other.") == f"{PREFIX}{OTHER}\n"


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": [{"role": "developer", "content": "Other."}, {"role": "user", "content": "hi"}]},
        {"instructions": "Other.", "input": "hi"},
    ],
)
def test_the_hash_of_a_request_is_that_of_its_system_prompt(tmp_path: Path, config: Path, asked: object) -> None:
    file = tmp_path / "body.json"
    file.write_text(json.dumps(asked), encoding="utf-8")

    assert run("tasks", "hash", file, "--body", "--config", config) == f"{PREFIX}{OTHER}\n"


def test_a_file_without_a_prompt_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")

    assert "holds no system prompt" in run("tasks", "hash", tmp_path / "empty.txt", code=2)
    assert "cannot be read" in run("tasks", "hash", tmp_path / "nowhere.txt", code=2)


def test_the_list_has_what_no_task_claims(tmp_path: Path, config: Path) -> None:
    empty = run("tasks", "list", "--config", config)
    book = PromptBook(tmp_path / "data" / "tasks.db")
    for digest in (CLAIMED, OTHER):
        book.note(digest, "support", 10**18)
    book.take()()

    table = run("tasks", "list", "--config", config)
    rows = json.loads(run("tasks", "list", "--config", config, "--format", "json"))["prompts"]
    csv = run("tasks", "list", "--config", config, "--format", "csv")

    assert "No system prompt was counted" in empty
    assert PREFIX + OTHER in table
    assert CLAIMED not in table
    assert [(row["hash"], row["requests"]) for row in rows] == [(PREFIX + OTHER, 1)]
    assert rows[0]["first_seen"] == rows[0]["last_seen"] == "2001-09-09T01:46:40+00:00"
    assert csv.splitlines()[0] == "hash,feature,requests,first_seen,last_seen,suggested_task"


def test_a_file_of_counts_that_was_spoilt_is_a_clear_error(tmp_path: Path, config: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tasks.db").write_bytes(b"no database" * 100)

    assert "cannot be read (DatabaseError): it only holds counts" in run("tasks", "list", "--config", config, code=2)
