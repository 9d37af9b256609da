"""Budgets: how full they are, and what raises them, as a table."""

from typing import TYPE_CHECKING

from farthing.money import format_usd
from gateway.commands.surroundings import (
    CLOCK,
    ConfigOption,
    DataOption,
    find_ledger,
    ledger_of,
    load_settings,
    print_table,
)

if TYPE_CHECKING:
    from gateway.pages.figures import BudgetLine

_RIGHT = ("used", "spent USD", "held USD", "left USD", "limit USD")


def budgets(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """How full every budget is in its present window, fullest first, with the raises that count now."""
    from gateway.pages.figures import read_budgets
    from gateway.spendquery import check_ledger

    settings = load_settings(config)
    ledger = find_ledger(config, data_dir) if data_dir is not None else ledger_of(settings)
    check_ledger(ledger)
    lines = read_budgets(ledger, settings.budgets, CLOCK.wall_ns())
    print_table(["budget", "scope", "window", *_RIGHT, "until", "raises"], map(_cells, lines), right=_RIGHT)


def _cells(line: "BudgetLine") -> list[str]:
    from gateway.periods import moment_of

    raises = (
        f"+{format_usd(one.amount)} until {moment_of(one.until_ns):%Y-%m-%d %H:%M} UTC by {one.author}: {one.reason}"
        for one in line.raises
    )
    left = max(line.limit - line.spent - line.held, 0)
    amounts = (format_usd(amount) for amount in (line.spent, line.held, left, line.limit))
    used = f"{line.used:.1%}"
    return [line.budget, line.scope, line.window, used, *amounts, line.resets_at or "", "; ".join(raises)]
