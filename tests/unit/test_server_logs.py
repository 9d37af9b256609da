"""What libraries log at a level below warning stays out of our log, since some of them write whole prompts."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.server import OTHERS, write_logs
from gateway.settings import LoggingSettings, load
from tests.gateway import write_tree


@pytest.fixture(autouse=True)
def _levels_restored() -> Iterator[None]:
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in OTHERS}
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize("name", OTHERS)
def test_a_librarys_debug_line_is_not_written_even_at_debug(tmp_path: Path, name: str) -> None:
    settings = load(write_tree(tmp_path, "http://127.0.0.1:9/v1"), {})

    write_logs(replace(settings, logging=LoggingSettings(level="debug", format="json")))

    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger("farthing").isEnabledFor(logging.DEBUG)
