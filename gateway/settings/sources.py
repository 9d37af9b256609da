"""Sources: the files of one configuration as bytes, read at one moment."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.settings.findings import Finding, Place, SettingsError
from gateway.settings.reader import MAX_FILE_BYTES


@dataclass(frozen=True, slots=True)
class Source:
    """One file; `data` has at most one byte more than a file may have."""

    path: Path
    data: bytes


def read_sources(path: Path) -> tuple[Source, ...]:
    """Every `*.yaml` file of a directory in the order of names, or the one file. Raises SettingsError."""
    try:
        return tuple(_read(file) for file in list_files(path))
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror or error}); check path and rights") from None


def list_files(path: Path) -> list[Path]:
    """The files that make up the configuration at `path`. Raises SettingsError where there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise _unusable(path, "does not exist; give a directory with *.yaml files, or one file")
    visible = sorted(file for file in path.iterdir() if not file.name.startswith(".") and file.is_file())
    if other := [file for file in visible if file.suffix in {".yml", ".YML", ".YAML"}]:
        raise _unusable(other[0], "would not be read; rename it to end in .yaml")
    files = [file for file in visible if file.suffix == ".yaml"]
    if not files:
        raise _unusable(path, "holds no *.yaml file; write one, or give another directory")
    return files


def digest(sources: Sequence[Source]) -> str:
    """SHA-256 of names and contents."""
    found = hashlib.sha256()
    for source in sources:
        name = str(source.path).encode("utf-8", "surrogateescape")
        found.update(b"%d %d " % (len(name), len(source.data)) + name + source.data)
    return found.hexdigest()


def stamps(files: Iterable[Path]) -> tuple[tuple[str, int, int, int], ...]:
    """Name, modification time (ns), size and inode of each file: cheap to compare every second."""
    found = []
    for file in files:
        state = file.stat()
        found.append((str(file), state.st_mtime_ns, state.st_size, state.st_ino))
    return tuple(found)


def _read(file: Path) -> Source:
    with file.open("rb") as stream:
        return Source(file, stream.read(MAX_FILE_BYTES + 1))


def _unusable(path: Path, problem: str) -> SettingsError:
    return SettingsError([Finding(Place(str(path)), "", problem)])
