"""docs/cli.md against the commands that there are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from gateway import cli
from gateway.commands import surroundings
from ledger.reports import DIMENSIONS

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SHARED = {"--config", "-c", "--data-dir", "--help"}


def commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command with what one types for it."""
    for name, command in group.commands.items():
        typed = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from commands(command, typed)
        else:
            yield typed, command


EVERY = dict(commands(typer.main.get_command(cli.app), "farthing"))


@pytest.mark.parametrize("typed", EVERY)
def test_every_command_is_in_the_table_and_has_a_section_with_its_options(typed: str) -> None:
    section = TEXT.partition(f"\n## {typed}\n")[2].partition("\n## ")[0]

    assert f"| `{typed}` |" in TEXT
    assert section
    options = {name for parameter in EVERY[typed].params for name in parameter.opts if name.startswith("-")}
    assert [name for name in sorted(options - SHARED) if name not in section] == []


@pytest.mark.parametrize("typed", EVERY)
def test_every_command_and_option_explains_itself(typed: str) -> None:
    command = EVERY[typed]

    assert command.help
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", None)] == []


def test_every_dimension_of_a_report_is_named() -> None:
    assert [name for name in DIMENSIONS if f"`{name}`" not in TEXT] == []


def test_the_places_where_a_configuration_is_looked_for_are_named() -> None:
    assert [path for path in surroundings.DEFAULT_CONFIGS if f"`{path}`" not in TEXT] == []
