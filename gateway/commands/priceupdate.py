"""Price update: prices from a file into `prices:` of the configuration."""

import difflib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.errors import ConfigError, InvalidParameter
from gateway.commands.surroundings import CLOCK, ConfigOption, config_path, environment
from gateway.periods import moment_of, parse_moment

if TYPE_CHECKING:
    from gateway.pricesfile import Entry
    from gateway.settings import Settings

FILE_NAME: Final = "prices.yaml"


def prices_update(
    file: Annotated[Path, typer.Argument(help="CSV or JSON with the members of an entry under `prices:`.")],
    valid_from: Annotated[
        str, typer.Option(help="First day of prices that name none; today if not given.", show_default=False)
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    config: ConfigOption = None,
) -> None:
    """Write prices from a file into the configuration, with its comments and its order kept. Nothing is fetched."""
    now_ns = CLOCK.wall_ns()
    plan = plan_update(config_path(config), file, parse_moment(valid_from, now_ns) if valid_from else now_ns)
    _show(plan)
    if plan.new != plan.old and not dry_run:
        _write(plan.target, plan.new)
    typer.echo(_sentence(plan, dry_run=dry_run))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An update before it is written: `entries` of the list, what becomes of each, the file to be edited with its old
    and new text, and the settings that the new text makes."""

    entries: "Sequence[Entry]"
    did: tuple[str, ...]
    target: Path
    old: str
    new: str
    settings: "Settings"


def plan_update(configuration: Path, file: Path, valid_from_ns: int) -> Plan:
    """Nothing is written. Raises InvalidParameter for a list that cannot be used, ConfigError for a file that cannot be
    edited."""
    from gateway.pricelists import read_price_list
    from gateway.pricesfile import update

    entries = read_price_list(file, moment_of(valid_from_ns).date().isoformat())
    target = _target(configuration)
    old = target.read_text(encoding="utf-8") if target.exists() else ""
    edited = update(old, entries)
    settings = _loaded(configuration, target, edited.text)
    return Plan(entries=entries, did=edited.did, target=target, old=old, new=edited.text, settings=settings)


def _target(configuration: Path) -> Path:
    """The file with `prices:`; in a directory without any a new `prices.yaml`."""
    import yaml

    if not configuration.is_dir():
        return configuration
    for path in sorted(configuration.glob("*.yaml")):
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not YAML: {error}. Nothing was changed.") from None
        if isinstance(root, yaml.MappingNode) and any(key.value == "prices" for key, _ in root.value):
            return path
    return configuration / FILE_NAME


def _loaded(configuration: Path, target: Path, text: str) -> "Settings":
    """The settings of a copy of the configuration with the new text. Raises InvalidParameter where it is no good."""
    from gateway.settings import SettingsError, load

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "config"
        if configuration.is_dir():
            shutil.copytree(configuration, copy)
            changed = copy / target.name
        else:
            copy.mkdir()
            changed = copy = copy / target.name
        changed.write_text(text, encoding="utf-8")
        try:
            return load(copy, environment())
        except SettingsError as error:
            told = error.message.replace(str(copy), str(configuration))
            raise InvalidParameter(f"With these prices the configuration could not be used: {told}") from None


def _show(plan: Plan) -> None:
    name = str(plan.target)
    lines = difflib.unified_diff(plan.old.splitlines(), plan.new.splitlines(), name, name, lineterm="", n=2)
    for line in lines:
        typer.echo(line)


def _write(target: Path, text: str) -> None:
    """All or nothing: a gateway that watches the file never reads half of it."""
    beside = target.with_name(target.name + ".new")
    try:
        beside.write_text(text, encoding="utf-8")
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigError(f"{target} cannot be written ({error}): nothing was changed.") from None


def _sentence(plan: Plan, *, dry_run: bool) -> str:
    counts = ", ".join(f"{plan.did.count(deed)} {deed}" for deed in ("added", "changed", "unchanged"))
    return f"{plan.target}: {counts}{' (dry run: nothing was written)' if dry_run else ''}"
