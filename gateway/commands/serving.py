"""Serving: start the gateway, check its configuration, write its schema, tell its version."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from farthing.catalog import Deployment, PriceOverride
from farthing.errors import ConfigError, UnpricedModel
from gateway.commands.surroundings import CLOCK, ConfigOption, config_path, environment

if TYPE_CHECKING:
    from gateway.settings import LedgerSettings, Settings

SCHEMAS: Final = Path("config/schemas")

HostOption = Annotated[str | None, typer.Option(help="Address to listen on; else `server.host`.", show_default=False)]
PortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, help="TCP port; else `server.port`.", show_default=False)
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, max=64, help="Processes; else `server.workers`.", show_default=False)
]


def serve(
    config: ConfigOption = None, host: HostOption = None, port: PortOption = None, workers: WorkersOption = None
) -> None:
    """Run the gateway until a signal ends it."""
    from gateway import server

    server.serve(config_path(config), host=host, port=port, workers=workers)


def check(config: ConfigOption = None) -> None:
    """Check the configuration; every finding is printed as FILE:LINE:COLUMN. Exit code 1 if there is one."""
    from gateway.settings import SettingsError, load

    path = config_path(config)
    try:
        settings = load(path, environment())
    except SettingsError as error:
        found = [str(finding) for finding in error.findings]
    else:
        found = [
            *_missing(settings.ledger, path),
            *_unpriced(settings.deployments, settings.prices, path),
            *_unlearned(settings),
            *_unsound(settings),
        ]
    for line in found:
        typer.echo(line)
    if found:
        raise typer.Exit(1)
    catalog = settings.catalog
    typer.echo(
        f"{path} is fine: {len(catalog.tiers)} tiers, {len(catalog.models)} models, {len(catalog.features)} features, "
        f"{len(settings.keys)} keys, {len(settings.budgets)} budgets."
    )


def _missing(ledger: "LedgerSettings", path: Path) -> Iterable[str]:
    """A finding where the ledger needs a package that is not installed."""
    from gateway.retention import check_retention

    try:
        check_retention(ledger)
    except ConfigError as error:
        yield f"{path}: ledger.retention: {error.message}"


def _unlearned(settings: "Settings") -> Iterable[str]:
    """Findings in the examples of tasks, and where the classifier is not that of these examples."""
    if not any(task.signs.examples for task in settings.catalog.tasks.values()):
        return []
    from gateway.taskexamples import classifier_problems

    return classifier_problems(settings)


def _unsound(settings: "Settings") -> Iterable[str]:
    """Findings in the suites of the configured directory, and where one names a task or a tier that there is not."""
    if not settings.evals.suites.is_dir():
        return
    from evals.loader import SUITES
    from evals.shelf import Shelf

    if settings.evals.suites.resolve() == SUITES:
        return  # those that ship with Farthing are for the demo's own tiers
    looked = Shelf(settings.evals.suites, allow_code=settings.evals.allow_code).look()
    for problem in looked.problems:
        yield from problem.splitlines()[1:] or [problem]
    known = {tier.name for tier in settings.catalog.tiers}
    for suite in looked.suites.values():
        if suite.task not in settings.catalog.tasks:
            yield f"{suite.places['task']}: '{suite.task}' is no task of config/routing.yaml: declare it there"
        for key, tiers in (("candidates", suite.candidates), ("reference", (suite.reference,))):
            for tier in sorted(set(tiers) - known):
                yield (
                    f"{suite.places[key]}: '{tier}' is no tier of config/routing.yaml; "
                    f"known: {', '.join(sorted(known))}"
                )


def _unpriced(places: Iterable[Deployment], overrides: Sequence[PriceOverride], path: Path) -> list[str]:
    """A finding for each deployment without a price: calls to it would be refused."""
    from ledger.prices import PriceBook

    book, now_ns, found = PriceBook(overrides), CLOCK.wall_ns(), set()
    for deployment in places:
        provider = deployment.provider
        try:
            book.price(provider.price_provider or provider.name, deployment.model, now_ns)
        except UnpricedModel as error:
            found.add(f"{path}: prices: {error.message}")
    return sorted(found)


def schema_write(
    directory: Annotated[Path, typer.Argument(help="Directory to write farthing.schema.json into.")] = SCHEMAS,
) -> None:
    """Write the JSON Schema with which an editor completes and checks the YAML."""
    from gateway.settings import schema

    schema.write(directory)
    typer.echo(f"{directory / schema.FILE_NAME} written")


def version() -> None:
    """Tell the version."""
    from gateway.version import own_version

    typer.echo(own_version())
