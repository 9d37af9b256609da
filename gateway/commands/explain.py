"""Explain: why a request went where it went, or where one would go now."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import ConfigError, InvalidParameter
from gateway.commands.surroundings import (
    CLOCK,
    ConfigOption,
    DataOption,
    default_config,
    find_ledger,
    ledger_of,
    load_settings,
)
from gateway.files import Files
from gateway.logs import printable

if TYPE_CHECKING:
    from gateway.explaindesk import ExplainDesk
    from gateway.explained import Explained
    from gateway.settings import Settings

MOST_BYTES: Final = 64 * 2**20
"""Of a body in a file."""


def explain(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    request_id: Annotated[str, typer.Argument(help="The x-farthing-request-id of an answer.", show_default=False)] = "",
    feature: Annotated[str, typer.Option(help="Dry run: the feature of the call.")] = "",
    task: Annotated[str, typer.Option(help="Dry run: the task, if the call names one.")] = "",
    model: Annotated[str, typer.Option(help="Dry run: the model that the client asks for.")] = "auto",
    body: Annotated[
        str, typer.Option(help="Dry run: a file with a whole request body, - for standard input.", show_default=False)
    ] = "",
    header: Annotated[list[str], typer.Option(help="With --body: a header, as NAME: VALUE; may be repeated.")] = [],  # noqa: B006
    endpoint: Annotated[str, typer.Option(help="With --body: where it is sent, below /v1.")] = "chat/completions",
    key: Annotated[str, typer.Option(help="With --body: the id of the virtual key.", show_default=False)] = "",
    json_: Annotated[bool, typer.Option("--json", help="Write JSON, as POST /api/explain answers.")] = False,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Tell why a request went where it went, or with --feature or --body where a call would go now, and why."""
    from gateway.explaintold import lines, members

    if sum(map(bool, (request_id, feature and not body, body))) != 1:
        raise InvalidParameter("Give a request id, or --feature or --body for a dry run.")
    if request_id:
        _tell_row(request_id, config, data_dir, json_=json_)
        return
    desk = _desk(load_settings(config), data_dir)
    if body:
        headers = _headers(header, feature=feature, task=task)
        found = asyncio.run(_of_body(desk, body, headers, endpoint, key))
    else:
        found = desk.of_names(feature=feature, task=task, model=model)
    if json_:
        typer.echo(json.dumps(members(found), indent=2))
    else:
        _echo(lines(found))


def _echo(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(printable(line))


def _desk(settings: "Settings", data_dir: Path | None) -> "ExplainDesk":
    from gateway.explaindesk import ExplainDesk
    from gateway.present import evidence_of, present
    from ledger.sqlite_file import SQLiteFile

    files = Files.below(data_dir or settings.data_dir)
    generation = present(settings, evidence_of(files, settings.evals), CLOCK.wall_ns(), files)
    database = ledger_of(settings) if data_dir is None else SQLiteFile(files.ledger)
    return ExplainDesk(database=database, clock=CLOCK, generation=lambda: generation)


# --- a call that was made --------------------------------------------------------------------------


def _tell_row(request_id: str, config: Path | None, data_dir: Path | None, *, json_: bool) -> None:
    """The row in sentences, its bill and its corrections, then what the configuration makes of it, if there is one."""
    from gateway.explaindesk import absent
    from gateway.explaintold import lines, members, story
    from gateway.spendquery import check_ledger
    from ledger import reports
    from ledger.adjustments import adjustments_of

    database = find_ledger(config, data_dir)
    check_ledger(database)
    record = reports.record(database, request_id)
    if record is None:
        raise InvalidParameter(absent(database, request_id))
    corrections = adjustments_of(database, record.id)
    settings, why_not = _settings(config)
    found = None if settings is None else _desk(settings, data_dir).of_row(record, corrections)
    if not json_:
        _echo([*story(record, corrections), *([why_not] if found is None else lines(found))])
    elif found is None:
        raise ConfigError(why_not)
    else:
        typer.echo(json.dumps(members(found), indent=2))


def _settings(config: Path | None) -> "tuple[Settings | None, str]":
    """The configuration, or why the alternatives are not known: a row can be told without any."""
    if config is None and default_config() is None:
        return None, "What else there was is not known: there is no configuration here, name it with --config PATH."
    try:
        return load_settings(config), ""
    except ConfigError as error:
        if config is not None:
            raise
        return None, f"What else there was is not known. {error.message}"


# --- a dry run -------------------------------------------------------------------------------------


def _headers(given: Sequence[str], *, feature: str, task: str) -> dict[str, str]:
    """Those of the options; --feature and --task are the headers of these names."""
    named = [("x-farthing-feature", feature), ("x-farthing-task", task)]
    headers = {name: value for name, value in named if value}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise InvalidParameter(f"'{printable(text[:80])}' is not a header: write 'NAME: VALUE'.")
        if headers.setdefault(name.strip().lower(), value.strip()) != value.strip():
            raise InvalidParameter(f"The header '{printable(name[:80])}' is given twice.")
    return headers


async def _of_body(desk: "ExplainDesk", body: str, headers: dict[str, str], endpoint: str, key_id: str) -> "Explained":
    from gateway.explainapi import request_of
    from gateway.explaindesk import NOBODY

    key = next((one for one in desk.generation().keys.values() if one.id == key_id), None) if key_id else NOBODY
    if key is None:
        raise InvalidParameter(f"There is no key of the id '{printable(key_id[:80])}'.")
    request = request_of(_read(body), headers=headers, endpoint=endpoint, received_ns=CLOCK.wall_ns())
    return await desk.of_request(request, key)


def _read(body: str) -> bytes:
    """The body in a file, or on standard input."""
    try:
        if body == "-":
            raw = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(body).open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidParameter(f"{printable(body)} cannot be read: {error.strerror or error}.") from None
    if len(raw) > MOST_BYTES:
        raise InvalidParameter(f"{printable(body)} is larger than {MOST_BYTES // 2**20} MiB.")
    return raw
