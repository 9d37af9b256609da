"""CLI: the command `farthing`; what each sub-command does is in gateway/commands."""

from typing import Any, Final

import typer
from typer.core import TyperGroup

from farthing.errors import FarthingError
from gateway.commands import (
    budgets,
    cache,
    demote,
    evaldue,
    evalexport,
    evalimport,
    evals,
    explain,
    keys,
    ledger,
    mix,
    policy,
    pricediff,
    prices,
    priceupdate,
    project,
    quickstart,
    reconcile,
    report,
    reprice,
    serving,
    tasks,
)

USAGE_ERROR: Final = 2


class Commands(TyperGroup):
    """Commands whose errors of ours are one clear block on standard error and exit code 2, never a traceback."""

    def invoke(self, ctx: Any) -> Any:  # typer brings a click of its own, whose Context it does not export
        try:
            return super().invoke(ctx)
        except FarthingError as error:
            typer.echo(f"farthing: {error.message}", err=True)
            raise typer.Exit(USAGE_ERROR) from None


def _group(help_: str) -> typer.Typer:
    return typer.Typer(help=help_, no_args_is_help=True)


app = typer.Typer(
    cls=Commands,
    help="The LLM gateway that accounts for every farthing.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables could show a key.
    pretty_exceptions_enable=False,
)
app.command()(serving.serve)
app.command()(quickstart.quickstart)
app.command()(serving.check)
app.command()(budgets.budgets)
app.command()(explain.explain)
app.command()(reconcile.reconcile)
app.command()(serving.version)

keys_group = _group("Virtual keys.")
keys_group.command("new")(keys.keys_new)
app.add_typer(keys_group, name="keys")

report_group = _group("Reports from the ledger.")
report_group.command("spend")(report.report_spend)
report_group.command("inference")(report.report_inference)
report_group.command("prompt-cache")(report.report_prompts)
report_group.command("mix")(mix.report_mix)
app.add_typer(report_group, name="report")

ledger_group = _group("The ledger's file.")
ledger_group.command("check")(ledger.ledger_check)
ledger_group.command("archive")(ledger.ledger_archive)
ledger_group.command("restore")(ledger.ledger_restore)
ledger_group.command("move")(ledger.ledger_move)
app.add_typer(ledger_group, name="ledger")

cache_group = _group("The caches.")
cache_group.command("purge")(cache.cache_purge)
cache_group.command("stats")(cache.cache_stats)
app.add_typer(cache_group, name="cache")

eval_group = _group("Evals: which tier is good enough for which task.")
eval_group.command("run")(evals.eval_run)
eval_group.command("export")(evalexport.eval_export)
eval_group.command("smoke")(evals.eval_smoke)
eval_group.command("due")(evaldue.eval_due)
eval_group.command("list")(evaldue.eval_list)
eval_group.command("show")(evaldue.eval_show)
eval_group.command("import")(evalimport.eval_import)
eval_group.command("demote")(demote.eval_demote)
app.add_typer(eval_group, name="eval")

tasks_group = _group("Tasks: which requests are of which kind.")
tasks_group.command("hash")(tasks.tasks_hash)
tasks_group.command("list")(tasks.tasks_list)
tasks_group.command("train")(tasks.tasks_train)
app.add_typer(tasks_group, name="tasks")

policy_group = _group("Routing policies.")
policy_group.command("diff")(policy.policy_diff)
app.add_typer(policy_group, name="policy")

prices_group = _group("Prices of models.")
prices_group.command("show")(prices.prices_show)
prices_group.command("diff")(pricediff.prices_diff)
prices_group.command("update")(priceupdate.prices_update)
prices_group.command("reprice")(reprice.prices_reprice)
app.add_typer(prices_group, name="prices")

project_group = _group("What a change would cost.")
project_group.command("re-embed")(project.project_reembed)
app.add_typer(project_group, name="project")

schema_group = _group("The JSON Schema of the configuration.")
schema_group.command("write")(serving.schema_write)
app.add_typer(schema_group, name="schema")


def main() -> None:
    """Run the command line."""
    app()
