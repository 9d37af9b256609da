"""What routing saves and what it risks, replayed from recorded outcomes of real models.

`python -m bench.routing` runs every part and prints its table; `--part` one of them; `--json` also writes the figures:
to that file where a part is named, else to `routing_<part>.json` in that folder. Needs the recorded data beside the
project, or in the folder that `--data` names. docs/routing-bench.md says what the tables mean.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.results import write_result
from bench.routing_cost import NOTE as COST_NOTE
from bench.routing_cost import cost_figures
from bench.routing_drift import NOTE as DRIFT_NOTE
from bench.routing_drift import drift_figures
from bench.routing_gaming import NOTE as GAMING_NOTE
from bench.routing_gaming import gaming_figures
from bench.routing_gate import (
    ERROR_NOTE,
    GATE_NOTE,
    POWER_NOTE,
    error_figures,
    gate_figures,
    power_figures,
)
from bench.routing_live import NOTE as LIVE_NOTE
from bench.routing_live import live_figures
from bench.routing_promotion import NOTE as PROMOTION_NOTE
from bench.routing_promotion import promotion_figures
from bench.routing_prompts import NOTE as PROMPTS_NOTE
from bench.routing_prompts import prompt_figures
from bench.routing_tasks import NOTE as TASKS_NOTE
from bench.routing_tasks import task_figures

HOME: Final = Path(__file__).parents[2] / "shared" / "data" / "routing"
"""Beside the project; the README there has sources and licences."""
COMMAND: Final = "python -m bench.routing"
Figures = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """One table: `figures` makes it (rows, or one value by name) from the folder of recorded data."""

    name: str
    figures: Callable[[Path], Figures]
    note: str


PARTS: Final[dict[str, Part]] = {
    "prompts": Part("Routing: which prompts need the strong model", prompt_figures, PROMPTS_NOTE),
    "tasks": Part("Routing: requests told by examples", task_figures, TASKS_NOTE),
    "cost": Part("Routing: what it costs a request", lambda _: cost_figures(), COST_NOTE),
    "drift": Part("Routing: how soon drift is seen", drift_figures, DRIFT_NOTE),
    "gaming": Part("Routing: flattered judges and broken deployments", gaming_figures, GAMING_NOTE),
    "live": Part("Routing: another model behind the same name, by live grades", live_figures, LIVE_NOTE),
    "promotion": Part("Routing: what promotion by evals saves", promotion_figures, PROMOTION_NOTE),
    "gate": Part("Routing: whom the gate promotes, and with how many items", gate_figures, GATE_NOTE),
    "gate_error": Part("Routing: false promotions where they are easiest", error_figures, ERROR_NOTE),
    "gate_power": Part("Routing: promotions of candidates as good as the reference", power_figures, POWER_NOTE),
}


def main() -> None:
    """Run all parts or one, or say why not."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--part", choices=list(PARTS), help="all of them in turn, if none is named")
    parser.add_argument("--json", type=Path, help="also write the figures to this file; to this folder without --part")
    parser.add_argument("--data", type=Path, default=HOME, help="the folder of recorded outcomes")
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"The recorded outcomes are not on this machine: there is no folder {options.data}.")
    for name in [options.part] if options.part else PARTS:
        figures = PARTS[name].figures(options.data)
        print("\n".join([PARTS[name].name, *table(figures), ""]), flush=True)
        if options.json:
            _write(name, figures, options.json if options.part else options.json / f"routing_{name}.json")


def _write(name: str, figures: Figures, path: Path) -> None:
    part = PARTS[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    note = " ".join(part.note.split())
    write_result(path, name=part.name, command=f"{COMMAND} --part {name}", figures=figures, note=note)


def table(figures: Figures) -> list[str]:
    """The figures as lines of columns; numbers to the right."""
    rows = (
        [{"what": key, "value": value} for key, value in figures.items()] if isinstance(figures, Mapping) else figures
    )
    heads = list(rows[0]) if rows else []
    cells = [heads, *([_cell(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(heads))]
    texts = [any(isinstance(row[head], str) for row in rows) for head in heads]
    return ["  ".join(_put(*cell) for cell in zip(line, widths, texts, strict=True)).rstrip() for line in cells]


def _put(cell: str, width: int, text: bool) -> str:
    return cell.ljust(width) if text else cell.rjust(width)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
