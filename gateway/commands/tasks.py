"""Tasks: the hash of a system prompt, and the prompts that no task claims yet."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from farthing.errors import ConfigError
from gateway.commands.report import Format, as_csv
from gateway.commands.surroundings import ConfigOption, DataOption, load_settings, print_table

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

    from gateway.files import Files
    from gateway.promptbook import read_prompts
    from gateway.taskdesk import claimed_prompts, prompt_members

    settings = load_settings(config)
    path = Files.below(data_dir or settings.data_dir).prompts
    rows = [prompt_members(one) for one in read_prompts(path, claimed_prompts(settings.catalog))]
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
