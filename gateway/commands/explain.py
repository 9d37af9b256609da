"""Explain: why a request went where it went, or where one would go now."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from farthing.errors import InvalidParameter
from gateway.commands.surroundings import CLOCK, ConfigOption, DataOption, find_ledger, load_settings
from gateway.files import Files
from gateway.logs import printable

if TYPE_CHECKING:
    from farthing.catalog import Catalog, Deployment, Feature, Task
    from farthing.routing import Demotion, Scorecard
    from ledger.database import Database


def explain(
    request_id: Annotated[str, typer.Argument(help="The x-farthing-request-id of an answer.", show_default=False)] = "",
    feature: Annotated[str, typer.Option(help="Dry run: the feature of the call.")] = "",
    task: Annotated[str, typer.Option(help="Dry run: the task, if the call names one.")] = "",
    model: Annotated[str, typer.Option(help="Dry run: the model that the client asks for.")] = "auto",
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Tell the story of a request, or with --feature where a call would go now and why."""
    if bool(request_id) == bool(feature):
        raise InvalidParameter("Give a request id, or --feature for a dry run.")
    lines = _story(request_id, find_ledger(config, data_dir)) if request_id else _dry_run(feature, task, model, config)
    for line in lines:
        typer.echo(printable(line))


def _story(request_id: str, database: "Database") -> Iterator[str]:
    from gateway.spendquery import check_ledger
    from gateway.story import charges, tell, tell_corrections, where_else
    from ledger import reports
    from ledger.adjustments import adjustments_of

    check_ledger(database)
    record = reports.record(database, request_id)
    if record is None:
        elsewhere = where_else(database, request_id)
        raise InvalidParameter(f"The ledger has no request '{printable(request_id[:80])}'. {elsewhere}")
    yield from tell(record)
    for charge in charges(record):
        yield f"  {charge.name}: {charge.quantity} at {charge.rate} USD per million = {charge.amount} USD"
    yield from tell_corrections(adjustments_of(database, record.id))


def _dry_run(feature_name: str, task_name: str, model: str, config: "ConfigOption") -> Iterator[str]:
    settings = load_settings(config)
    catalog = settings.catalog
    feature = catalog.features.get(feature_name)
    if feature is None:
        raise InvalidParameter(_undeclared("feature", feature_name, catalog.features))
    asked = catalog.aliases.get(model, model)
    if asked != "auto" and not (feature.override_model and asked in catalog.models):
        yield _named(asked, catalog)
        return
    task = _task(task_name or feature.task, catalog)
    yield from _routed(catalog, feature, task, Files.below(settings.data_dir))


def _named(asked: str, catalog: "Catalog") -> str:
    pins = {f"tier/{tier.name}": tier for tier in catalog.tiers}
    if asked in pins:
        return f"The client pins {asked}: no policy is asked. Deployments: {_places(pins[asked].deployments)}."
    if asked not in catalog.models:
        known = ("auto", *catalog.aliases, *pins, *catalog.models)
        raise InvalidParameter(f"No deployment serves '{printable(asked)}'; a client can ask for: {', '.join(known)}.")
    return f"The client names the model {asked}, and the feature honours that: {_places(catalog.models[asked])}."


def _places(deployments: "Iterable[Deployment]") -> str:
    return ", ".join(place.id for place in deployments)


def _undeclared(kind: str, name: str, declared: Iterable[str]) -> str:
    return (
        f"The {kind} '{printable(name)}' is not declared under `{kind}s:`; declared: {', '.join(declared) or 'none'}."
    )


def _task(name: str, catalog: "Catalog") -> "Task | None":
    if name and name not in catalog.tasks:
        raise InvalidParameter(_undeclared("task", name, catalog.tasks))
    return catalog.tasks.get(name)


def _routed(catalog: "Catalog", feature: "Feature", task: "Task | None", files: Files) -> Iterator[str]:
    from farthing.routing import RouteQuestion
    from router_policies import policy_of
    from router_policies.explain import explain as explain_choice

    scorecards, demotions = _evidence(files, task)
    question = RouteQuestion(
        catalog=catalog,
        feature=feature,
        task=task,
        scorecards=scorecards,
        now_ns=CLOCK.wall_ns(),
        demotions=demotions,
    )
    found = explain_choice(question, policy_of(feature))
    yield f"feature {feature.name}, task {task.name if task else '(none)'}, policy {feature.policy}"
    yield from found.lines()
    yield f"deployments: {_places(catalog.tier(found.choice.tier).deployments)}"


def _evidence(files: Files, task: "Task | None") -> "tuple[tuple[Scorecard, ...], tuple[Demotion, ...]]":
    """What is on record; nothing where no eval ever ran, and no file is made for a question."""
    if task is None or not files.scorecards.is_file():
        return (), ()
    from evals.scorecards import ScorecardStore

    with ScorecardStore(files.scorecards) as store:
        return store.latest(task.name), store.demotions(task.name)
