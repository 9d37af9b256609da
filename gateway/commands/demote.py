"""Demote: an operator takes a task from a tier."""

from typing import TYPE_CHECKING, Annotated

import typer

from farthing.errors import ConfigError
from gateway.commands.surroundings import CLOCK, ConfigOption, load_settings
from gateway.files import Files
from gateway.periods import moment_of

if TYPE_CHECKING:
    from farthing.catalog import Catalog

HOURS_MOST = 24 * 366
_HOUR_NS = 3_600 * 10**9


def eval_demote(
    task: Annotated[str, typer.Argument(help="A task of the configuration.", show_default=False)],
    tier: Annotated[str, typer.Argument(help="The tier that is to lose it.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why; it stands in headers and on the books.", show_default=False)],
    hours: Annotated[int, typer.Option(min=0, max=HOURS_MOST, help="Until it may pass again as it is.")] = 24,
    config: ConfigOption = None,
) -> None:
    """Take a task from a tier until it has passed again; gateways follow within a second."""
    from evals.scorecards import ScorecardStore
    from farthing.routing import Demotion
    from gateway.present import evidence_of

    settings = load_settings(config)
    _check(settings.catalog, task, tier, reason)
    now_ns = CLOCK.wall_ns()
    files = Files.below(settings.data_dir)
    cards, _ = evidence_of(files, settings.evals)
    card = next((card for card in cards if (card.task, card.tier) == (task, tier)), None)
    with ScorecardStore(files.scorecards) as store:
        demotion = Demotion(
            task=task,
            tier=tier,
            at_ns=now_ns,
            until_ns=now_ns + hours * _HOUR_NS,
            cause="operator",
            detail=reason,
            suite_hash=card.suite_hash if card else "",
            models=card.models if card else (),
        )
        store.demote(demotion, asks=True)
    until = moment_of(demotion.until_ns)
    typer.echo(f"{tier} has lost {task}; a pass of the same suite counts again from {until:%Y-%m-%d %H:%M} UTC.")


def _check(catalog: "Catalog", task: str, tier: str, reason: str) -> None:
    """Raises ConfigError."""
    known = catalog.tasks.get(task)
    if known is None:
        raise ConfigError(f"There is no task '{task}': the configuration has {', '.join(catalog.tasks) or 'none'}.")
    if tier not in known.candidates:
        named = ", ".join(known.candidates) or "none"
        raise ConfigError(f"'{tier}' is no candidate for {task}, so there is nothing to lose: it has {named}.")
    if not (reason.isascii() and reason.isprintable() and 0 < len(reason) <= 200):
        raise ConfigError("The reason stands in a header: write 1 to 200 printable ASCII characters.")
