"""Keys: make a virtual key; it is printed once, and only its hash goes into the configuration."""

import hashlib
import json
import secrets
from datetime import date
from typing import Annotated, Final

import typer

from farthing.catalog import CacheAccess
from farthing.errors import InvalidParameter, InvalidTag
from farthing.tags import is_tag

KEY_BYTES: Final = 32
PREFIX: Final = "fk-"

Tag = Annotated[str, typer.Option(show_default=False)]


def keys_new(  # noqa: PLR0913, PLR0917 - a command has as many options as a key has members
    id_: Annotated[str, typer.Option("--id", help="Name in reports and budgets; made up if not given.")] = "",
    tenant: Annotated[str, typer.Option(help="The organisation whose money and cache it uses.")] = "default",
    feature: Annotated[str, typer.Option(help="Feature of calls that name none.")] = "",
    task: Annotated[str, typer.Option(help="Task of calls that name none.")] = "",
    environment: Annotated[str, typer.Option(help="Environment of calls that name none.")] = "",
    team: Annotated[str, typer.Option(help="Team to which calls are booked.")] = "",
    features: Annotated[list[str], typer.Option(help="A feature it may name; may be repeated.")] = [],  # noqa: B006
    admin: Annotated[
        bool, typer.Option("--admin", help="It may also read reports, metrics and the dashboard.")
    ] = False,
    cache: Annotated[
        CacheAccess, typer.Option(help="read: served from the caches, and leaves nothing there. none: neither.")
    ] = CacheAccess.FULL,
    expires: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Day at whose start (UTC) it stops working.")] = "",
) -> None:
    """Make a key. It is shown this once; paste the lines below it under `keys:` in the configuration."""
    secret = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    members = {
        "id": id_ or f"key-{secrets.token_hex(3)}",
        "hash": f"sha256:{hashlib.sha256(secret.encode()).hexdigest()}",
        "tenant": tenant,
        "feature": feature,
        "task": task,
        "environment": environment,
        "team": team,
    }
    for name, value in members.items():
        if value and not is_tag(value):
            raise InvalidTag(f"--{name}: {InvalidTag.__doc__}")
    lines = [f"{name}: {json.dumps(value)}" for name, value in members.items() if value]
    if features:
        lines.append(f"features: {json.dumps(_checked(features))}")
    if admin:
        lines.append("rights: [call, admin]")
    if cache is not CacheAccess.FULL:
        lines.append(f'cache: "{cache}"')
    if expires:
        lines.append(f"expires: {_day(expires)}")
    typer.echo(secret)
    typer.echo("\n# This was the key; it is not shown again. Under `keys:` in the configuration:", err=True)
    typer.echo("\n".join(["  - " + lines[0], *("    " + line for line in lines[1:])]))


def _checked(features: list[str]) -> list[str]:
    if not all(map(is_tag, features)):
        raise InvalidTag(f"--features: {InvalidTag.__doc__}")
    return features


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InvalidParameter("--expires: write a day such as 2027-01-31.") from None
