"""How well alerts do on made-up spend: anomalies, forecasts and the surprises of the field.

`python -m bench.anomalies` prints every part; `--part` one of them; `--json docs/results/anomalies.json` also writes
the figures: the part `days` to that file, the others beside it as `anomalies_<part>.json`. docs/alerts.md says what
they mean.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.anomaly_days import HOURS_NOTE, day_figures, hour_figures
from bench.anomaly_days import NOTE as DAYS_NOTE
from bench.anomaly_months import NOTE as MONTHS_NOTE
from bench.anomaly_months import month_figures
from bench.results import write_result
from bench.surprises import NOTE as SURPRISES_NOTE
from bench.surprises import surprise_figures

COMMAND: Final = "python -m bench.anomalies"
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """One table."""

    name: str
    figures: Callable[[], Rows]
    note: str


PARTS: Final[Mapping[str, Part]] = {
    "days": Part("Alerts: lasting changes of a feature's spend, by day", day_figures, DAYS_NOTE),
    "hours": Part("Alerts: lasting changes of a feature's spend, by hour", hour_figures, HOURS_NOTE),
    "months": Part("Alerts: forecasts of the month's end", month_figures, MONTHS_NOTE),
    "surprises": Part("Alerts: the surprises of the field", surprise_figures, SURPRISES_NOTE),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables; write them where told."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--part", choices=PARTS, help="only this one")
    parser.add_argument("--json", type=Path, help="file of the part days; the others lie beside it")
    given = parser.parse_args(arguments)
    for part in [given.part] if given.part else PARTS:
        rows = PARTS[part].figures()
        print(f"\n{PARTS[part].name}")
        for row in rows:
            print("  ".join(f"{name}={value}" for name, value in row.items()))
        if given.json:
            _write(given.json, part, rows)


def _write(file: Path, part: str, rows: Rows) -> None:
    path = file if part == "days" else file.with_name(f"{file.stem}_{part}{file.suffix}")
    command = f"{COMMAND} --part {part} --json docs/results/{file.name}"
    write_result(path, name=PARTS[part].name, command=command, figures=rows, note=" ".join(PARTS[part].note.split()))


if __name__ == "__main__":
    main()
