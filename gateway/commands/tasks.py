"""Tasks: the hash of a system prompt, the prompts that no task claims yet, and a classifier from examples."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farthing.errors import ConfigError
from gateway.commands.report import Format, as_csv
from gateway.commands.surroundings import ConfigOption, DataOption, load_settings, print_table

if TYPE_CHECKING:
    from router_policies.centroid import CentroidClassifier

HEADS = ("hash", "feature", "requests", "first_seen", "last_seen", "suggested_task")


def tasks_hash(
    file: Annotated[str, typer.Argument(help="A file with the system prompt; - for standard input.")],
    body: Annotated[bool, typer.Option("--body", help="The file is the JSON body of a chat request.")] = False,
    config: ConfigOption = None,
) -> None:
    """Print the hash by which a task claims a system prompt."""
    from router_policies.prompthash import PREFIX, prompt_hash

    text = _text_of(file)
    digest = prompt_hash(_system_prompt(text, config) if body else text)
    if not digest:
        raise ConfigError(f"{file} holds no system prompt.")
    typer.echo(PREFIX + digest)


def _text_of(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as UTF-8 text ({type(error).__name__}).") from None


def _system_prompt(text: str, config: "ConfigOption") -> str:
    from farthing.call import Endpoint
    from gateway.jsonbody import parse_object
    from router_policies.signals import Signals

    asked = parse_object(text.encode("utf-8", "surrogatepass"))
    endpoint = Endpoint.CHAT if "messages" in asked else Endpoint.RESPONSES
    return Signals(endpoint, asked, load_settings(config).tasks.reading).system


def tasks_list(
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """System prompts that no task claims, by hash, the most frequent first; their texts are never kept."""
    import json
    import sqlite3

    from gateway.files import Files
    from gateway.promptbook import read_prompts
    from gateway.taskdesk import claimed_prompts, prompt_members

    settings = load_settings(config)
    path = Files.below(data_dir or settings.data_dir).prompts
    try:
        found = read_prompts(path, claimed_prompts(settings.catalog))
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}): it only holds counts, delete it.") from None
    rows = [prompt_members(one) for one in found]
    if format_ is Format.JSON:
        typer.echo(json.dumps({"prompts": rows}, indent=2))
        return
    lines = [[str(row[head]) for head in HEADS] for row in rows]
    if format_ is Format.CSV:
        typer.echo(as_csv(HEADS, lines), nl=False)
    elif lines:
        print_table([head.replace("_", " ") for head in HEADS], lines, right=["requests"])
    else:
        typer.echo("No system prompt was counted that no task claims; see `task_resolution.count_prompts`.")


def tasks_train(config: ConfigOption = None) -> None:
    """Make the classifier from the labelled examples, if 95 % of what it is sure of is right. Exit code 1 if not."""
    from gateway.taskexamples import classifier_file, read_examples, write_classifier
    from router_policies.training import CannotTell, train

    settings = load_settings(config)
    path = classifier_file(settings)
    examples = read_examples(settings.catalog, settings.tasks)
    if not examples:
        raise ConfigError("No task has examples: write tasks.NAME.examples: file://NAME.jsonl for two tasks or more.")
    try:
        classifier = train(examples)
    except CannotTell as error:
        typer.echo(f"{error} Nothing was written.", err=True)
        raise typer.Exit(1) from None
    write_classifier(path, classifier)
    _print_training(classifier)
    typer.echo(f"{path} written; gateways that run with it take it up within a second.")


def _print_training(classifier: "CentroidClassifier") -> None:
    held = classifier.held
    rows = [(task or "(no task)", str(held.counts[task]), f"{1 - held.low[task]:.0%}") for task in sorted(held.counts)]
    print_table(("task", "examples", "told right"), rows, right=("examples", "told right"))
    typer.echo(
        f"{held.items} held-out examples: {held.right:.1%} nearest to their own task. From a margin of "
        f"{classifier.margin:.3f} and a cosine of {classifier.cosine:.3f} on a guess counts: {held.covered:.1%} of the "
        f"examples, {held.right_if_covered:.1%} of them right. With limits from the other half of the examples: "
        f"{held.checked_covered:.1%}, {held.checked_right:.1%} of them right."
    )
