"""Config references: a configuration that lies here, or as it is in a revision of git (`main:config`)."""

import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from farthing.errors import ConfigError, InvalidParameter
from gateway.logs import printable
from gateway.settings import Settings, load

GIT_S: Final = 60.0


class StandIns(dict[str, str]):
    """An environment in which every variable is set: whoever only compares calls nobody, and needs no secret. What
    stands in for one that is not set may also be the hash of a virtual key, another one for each. `missing` are those
    that were asked for."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__(env)
        self.missing: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        self.missing.add(name)
        return f"sha256:{sha256(name.encode()).hexdigest()}"


@contextmanager
def configuration(named: str) -> Iterator[Path]:
    """The path of a configuration: `named` itself, or a copy of `REVISION:PATH` that is gone afterwards. Raises
    InvalidParameter."""
    if Path(named).exists():
        yield Path(named)
        return
    revision, colon, path = named.partition(":")
    if not colon or not revision or not path:
        raise InvalidParameter(
            f"There is no configuration '{printable(named)}': name a directory of *.yaml files, one file, or a "
            "revision of git with the path in it, such as main:config."
        )
    with TemporaryDirectory(prefix="farthing-") as folder:
        yield _copied(revision, path.rstrip("/"), Path(folder))


def load_named(named: str, env: Mapping[str, str]) -> Settings:
    """The settings of a configuration; something stands in for variables that are not set. Raises InvalidParameter, and
    ConfigError with every finding, by the names that the user knows."""
    with configuration(named) as path:
        variables = StandIns(env)
        try:
            return load(path, variables)
        except ConfigError as error:
            told = error.message.replace(str(path), named) if str(path) != named else error.message
            unset = f"\nVariables that are not set here: {', '.join(sorted(variables.missing))}."
            raise ConfigError(f"{named} cannot be used. {told}{unset if variables.missing else ''}") from None


def _copied(revision: str, path: str, folder: Path) -> Path:
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", what=revision)
    place = f"{commit.decode().strip()}:{path}"
    what = f"{revision}:{path}"
    kind = _git("cat-file", "-t", place, what=what).decode().strip()
    if kind == "tree":
        with tarfile.open(fileobj=BytesIO(_git("archive", "--format=tar", place, what=what))) as archive:
            archive.extractall(folder, filter="data")
        return folder
    copy = folder / Path(path).name
    copy.write_bytes(_git("cat-file", "blob", place, what=what))
    return copy


def _git(*arguments: str, what: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, timeout=GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidParameter(f"git cannot be asked for '{printable(what)}' ({type(error).__name__}).") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = f": {printable(said[-1][:200])}" if said else ""
        raise InvalidParameter(
            f"git has no '{printable(what)}' here{why}. Give a revision that is fetched and a path from the root of "
            "the repository, such as origin/main:config."
        )
    return done.stdout
