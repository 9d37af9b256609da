"""The task desk: guesses within a deadline and a bound, the classifier taken up from its file, alarms and counts."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from gateway.classifying import MOST_WAITING, Classifying
from gateway.promptbook import read_prompts
from gateway.settings import Settings, load
from gateway.taskdesk import SAMPLES, TaskDesk
from gateway.taskexamples import read_examples, write_classifier
from router_policies.prompthash import PREFIX, prompt_hash
from router_policies.tasks import Guess
from router_policies.training import train
from tests.labelled import SUMS, TEXTS, TICKETS, write_examples
from tests.scripted_pipeline import Stair, completion, plain, usage

TREE = """\
providers: {{box: {{kind: vllm}}}}
tiers: [{{name: small, deployments: [{{provider: box, model: tiny}}]}}]
features: {{chat: {{}}}}
task_resolution: {{examples: "file://others.jsonl", count_prompts: always{more}}}
tasks:
  sums: {{bar: 0.9, reference: small, examples: "file://sums.jsonl"}}
  tickets: {{bar: 0.9, reference: small, examples: "file://tickets.jsonl", system_prompts: ["{claimed}"]}}
"""
CLAIMED = PREFIX + prompt_hash("Sort.")


class Slow:
    """Port `Classifier` that guesses when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def guess(self, text: str) -> Guess:
        self.go.wait(5)
        if text == "bad":
            raise ValueError(text)
        return Guess(text, 1.0, 1.0)

    def is_sure(self, guess: Guess) -> bool:
        return guess.task != "unsure"


# --- guesses off the loop ------------------------------------------------------------------------


async def test_a_guess_is_waited_for_no_longer_than_the_deadline() -> None:
    desk, slow = Classifying(), Slow()

    late = await desk.guess(slow, "x", 0.001)
    slow.go.set()
    found = await desk.guess(slow, "x", 5)
    unsure = await desk.guess(slow, "unsure", 5)
    broken = await desk.guess(slow, "bad", 5)
    desk.close()

    assert (late, found, unsure, broken) == (None, Guess("x", 1.0, 1.0), Guess("unsure", 1.0, 1.0), None)
    assert desk.counts == {"late": 1, "sure": 1, "unsure": 1, "failed": 1}
    assert (desk.quantile(0.5) or 0) <= (desk.quantile(0.99) or 0)


async def test_where_too_many_wait_the_next_one_goes_without() -> None:
    desk, slow = Classifying(), Slow()

    waiting = [asyncio.ensure_future(desk.guess(slow, "x", 5)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    turned_away = await desk.guess(slow, "x", 5)
    slow.go.set()
    guesses = await asyncio.gather(*waiting)
    after = await desk.guess(slow, "x", 5)
    desk.close()

    assert turned_away is None
    assert None not in (*guesses, after)
    assert desk.counts["busy"] == 1


def test_who_never_waited_has_no_quantile() -> None:
    assert Classifying().quantile(0.5) is None


# --- the classifier's file -----------------------------------------------------------------------


def settings_of(directory: Path, more: str = "") -> Settings:
    write_examples(directory)
    file = directory / "farthing.yaml"
    file.write_text(TREE.format(claimed=CLAIMED, more=more), encoding="utf-8")
    return load(file, {})


def trained(directory: Path, settings: Settings) -> Path:
    path = directory / "classifier.json"
    write_classifier(path, train(read_examples(settings.catalog, settings.tasks)))
    return path


def test_a_trained_classifier_is_taken_up_and_left_when_its_file_goes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    desk = TaskDesk(tmp_path / "tasks.db", tmp_path / "classifier.json")

    before, problem = desk.resolver(settings), desk.problem
    trained(tmp_path, settings)
    stale = desk.is_stale(settings)
    after = desk.resolver(settings)
    again = desk.resolver(settings)
    (tmp_path / "classifier.json").unlink()
    left = desk.resolver(settings)

    assert before is not None
    assert before.classifier is None
    assert "farthing tasks train" in problem
    assert stale
    assert after is not None
    assert after.classifier is not None
    assert (again, desk.is_stale(settings)) == (after, False)
    assert left is not None
    assert left.classifier is None


def test_a_file_that_was_spoilt_leaves_the_classifier_that_is_in_use(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    path = trained(tmp_path, settings)
    desk = TaskDesk(classifier=path)
    before = desk.resolver(settings)

    path.write_text("nonsense", encoding="utf-8")
    after = desk.resolver(settings)

    assert before is not None
    assert after is not None
    assert after.classifier is before.classifier is not None
    assert "cannot be used" in desk.problem


@pytest.mark.parametrize("text", ["nonsense", '{"format": 9}'])
def test_a_classifier_that_cannot_be_used_is_a_problem_and_no_reason_to_stop(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path, f", classifier: {tmp_path / 'other.json'}")
    (tmp_path / "other.json").write_text(text, encoding="utf-8")
    desk = TaskDesk(classifier=tmp_path / "unused.json")

    resolver = desk.resolver(settings)

    assert resolver is not None
    assert resolver.classifier is None
    assert str(tmp_path / "other.json") in desk.problem


def test_a_classifier_of_other_tasks_than_have_examples_is_not_used(tmp_path: Path) -> None:
    path = trained(tmp_path, settings_of(tmp_path))
    file = tmp_path / "farthing.yaml"
    file.write_text(file.read_text().replace("  sums:", "  additions:"), encoding="utf-8")
    desk = TaskDesk(classifier=path)

    desk.resolver(load(file, {}))

    assert "they differ in additions, sums" in desk.problem


# --- off the path --------------------------------------------------------------------------------


def a_stair(directory: Path, settings: Settings) -> tuple[Stair, TaskDesk]:
    """A pipeline whose desk has the classifier of these settings, and its tasks."""
    stair = Stair().open()
    desk = TaskDesk(directory / "tasks.db", trained(directory, settings))
    stair.runtime.tasks = desk
    stair.runtime.generation = stair.generation_with(settings.catalog.tasks, desk.resolver(settings))
    return stair, desk


async def ask(stair: Stair, content: str, system: str = "") -> None:
    stair.upstream.add(plain(completion("hi", usage=usage(1, 1))))
    said = [{"role": "system", "content": system}] if system else []
    await stair.ask(messages=[*said, {"role": "user", "content": content}])


async def test_requests_of_a_task_that_grow_unlike_its_examples_are_told_in_the_log_and_a_metric(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stair, desk = a_stair(tmp_path, settings_of(tmp_path))

    for text in TEXTS[TICKETS][:20]:
        await ask(stair, text, "Sort.")
        await desk.tick()
    quiet = "\n".join(desk.lines())
    with caplog.at_level(logging.WARNING):
        for number in range(30):
            await ask(stair, f"zebra {number} quagga", "Sort.")
            await desk.tick()
    await desk.close()

    assert 'farthing_task_low_margin_alarm{task="tickets"} 0' in quiet
    assert 'farthing_task_low_margin_alarm{task="tickets"} 1' in "\n".join(desk.lines())
    (said,) = [record.getMessage() for record in caplog.records if record.name == "farthing.tasks"]
    assert said.startswith("task 'tickets': its requests grow unlike its examples")
    assert "zebra" not in said


async def test_a_second_compares_a_few_requests_at_most(tmp_path: Path) -> None:
    stair, desk = a_stair(tmp_path, settings_of(tmp_path))

    for number in range(SAMPLES + 5):
        await ask(stair, f"{TEXTS[TICKETS][0]} {number}", "Sort.")
    await desk.tick()
    await desk.close()

    lines = [line for line in desk.lines() if line.startswith('farthing_task_compared{task="tickets"')]
    assert sum(int(line.rsplit(" ", 1)[1]) for line in lines) == SAMPLES


async def test_prompts_that_nobody_claims_are_counted_with_the_task_that_their_requests_are_like(
    tmp_path: Path,
) -> None:
    stair, desk = a_stair(tmp_path, settings_of(tmp_path))

    await ask(stair, TEXTS[SUMS][0], "add")
    await ask(stair, "zebra", "Quagga!")
    await desk.close()

    found = {one.hash: one.task for one in read_prompts(tmp_path / "tasks.db")}
    assert found == {prompt_hash("add"): SUMS, prompt_hash("Quagga!"): ""}


async def test_counts_that_cannot_be_written_are_lost_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    desk = TaskDesk(tmp_path / "file" / "tasks.db")
    assert desk.prompts is not None

    with caplog.at_level(logging.WARNING):
        for at_ns in (1, 2):
            desk.prompts.note("aa", "chat", at_ns)
            await desk.flush()
    await desk.close()

    assert [record.getMessage() for record in caplog.records] == ["system prompts are not counted (FileExistsError)"]
    assert desk.unclaimed() == []
