"""Eval import: a suite from samples that were written for another tool."""

from pathlib import Path
from typing import Annotated

import typer


def eval_import(  # noqa: PLR0913, PLR0917 - each is an option
    format_: Annotated[
        str, typer.Argument(metavar="FORMAT", help="openai-evals, inspect or promptfoo.", show_default=False)
    ],
    file: Annotated[Path, typer.Argument(help="The samples, or promptfoo's configuration.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The suite to write.", show_default=False)],
    task: Annotated[str, typer.Option(help="The task of config/routing.yaml.", show_default=False)],
    reference: Annotated[str, typer.Option(help="The tier that is trusted.", show_default=False)],
    candidate: Annotated[list[str], typer.Option(help="A tier to be tried; cheapest first.", show_default=False)],
    bar: Annotated[float | None, typer.Option(help="The mean score must be above it.", show_default=False)] = None,
    margin: Annotated[
        float | None, typer.Option(help="The mean may be below the reference's by less.", show_default=False)
    ] = None,
    how: Annotated[
        str, typer.Option(help="begins, equals, icontains, includes, normalized or number.", show_default=False)
    ] = "",
    max_tokens: Annotated[int, typer.Option(help="Output tokens of an answer.")] = 256,
) -> None:
    """Make a suite of samples that were written for another tool; all of it or nothing."""
    from evals.importers import Head, import_suite

    head = Head(
        task=task,
        reference=reference,
        candidates=tuple(candidate),
        bar=bar,
        margin=margin,
        max_tokens=max_tokens,
        how=how,
    )
    count = import_suite(format_, file, output, head)
    typer.echo(f"{output}: {count} items.")
