"""Surroundings: what every command shares: the configuration, the files, the clock, the terminal."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import typer

from farthing.errors import ConfigError
from gateway.clock import SystemClock
from gateway.files import Files
from gateway.logs import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from gateway.settings import Settings
    from ledger.database import Database

OWN_CONFIG: Final = Path("config")
DEMO_CONFIG: Final = Path(".farthing/config")
DEFAULT_CONFIGS: Final = (OWN_CONFIG, DEMO_CONFIG)
"""Where a configuration is looked for: one's own, then that of `farthing quickstart`."""
PIPE_WIDTH: Final = 400
CLOCK: Final = SystemClock()

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Directory of *.yaml files, or one file; else `config`, else that of the quickstart.",
        show_default=False,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Directory with ledger.db, in place of the configuration's.", show_default=False),
]


def environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ


def config_path(given: Path | None) -> Path:
    """The configuration to use. Raises ConfigError where none is given and there is none here."""
    found = given if given is not None else default_config()
    if found is None:
        raise ConfigError("There is no configuration here: name it with --config PATH, or go where `config` lies.")
    return found


def default_config() -> Path | None:
    """The configuration that lies here."""
    return next((path for path in DEFAULT_CONFIGS if path.exists()), None)


def load_settings(given: Path | None) -> "Settings":
    """The settings. Raises ConfigError with every finding, and with a word on the demo's if nobody named a file."""
    from gateway.settings import SettingsError, load

    path = config_path(given)
    try:
        return load(path, environment())
    except SettingsError as error:
        if given is None and path == OWN_CONFIG and DEMO_CONFIG.exists():
            raise ConfigError(
                f"{error.message}\nThat is `{OWN_CONFIG}`, which goes first; the demo's is --config {DEMO_CONFIG}."
            ) from None
        raise


def find_ledger(config: Path | None, data_dir: Path | None) -> "Database":
    """The ledger's file below `data_dir`, or the ledger that the configuration names."""
    from ledger.sqlite_file import SQLiteFile

    if data_dir is not None:
        return SQLiteFile(Files.below(data_dir).ledger)
    return ledger_of(load_settings(config))


def ledger_of(settings: "Settings") -> "Database":
    """The ledger that a configuration names."""
    from gateway.ledgers import LedgerEngine

    return LedgerEngine(settings.ledger, Files.below(settings.data_dir).ledger).database


class Bars:
    """Progress bars on standard error, one below the other; a subclass says whose turn it is."""

    def __init__(self) -> None:
        self._progress = _progress_bar()
        self._turn: Any = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _progress_bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """A table on standard output; the columns in `right` are aligned to the right. Cells are plain text."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    aligned = set(right)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in aligned else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # A pipe has no width of its own, and what is read by a program must not be broken into lines.
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)
