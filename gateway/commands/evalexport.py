"""Eval export: the items of a run for tools that read promptfoo's results."""

import json
from pathlib import Path
from typing import Annotated

import typer

from farthing.errors import ConfigError
from gateway.commands.surroundings import ConfigOption, load_settings
from gateway.files import Files


def eval_export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, as `farthing eval run` names it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, else standard output.", show_default=False)
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write the items of a run as promptfoo writes its results, in JSON."""
    from evals.export import as_promptfoo
    from evals.scorecards import ScorecardStore

    with ScorecardStore(Files.below(load_settings(config).data_dir).scorecards) as store:
        outcomes = store.items(run)
    if not outcomes:
        raise ConfigError(f"There is no run '{run}' on record: `farthing eval run` prints the names of its runs.")
    text = json.dumps(as_promptfoo(run, outcomes), indent=2)
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}.") from None
