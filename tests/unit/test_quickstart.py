"""The quickstart's claim on its directory; all else of it is in tests/acceptance."""

import fcntl
from pathlib import Path

import pytest

from farthing.errors import ConfigError
from gateway import quickstart


def test_a_second_quickstart_leaves_the_files_of_the_first_alone(tmp_path: Path) -> None:
    with (tmp_path / quickstart.LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(ConfigError, match=r"runs from .* already: end it"):
            quickstart.run(data_dir=tmp_path, env={})

    assert [path.name for path in tmp_path.iterdir()] == [quickstart.LOCK]


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")

    with pytest.raises(ConfigError, match=r"cannot be used .*--data-dir"):
        quickstart.run(data_dir=tmp_path / "taken" / "below", env={})
