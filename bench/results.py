"""Results: what was measured, as JSON files in docs/results and the page that shows them.

`python -m bench.results` writes docs/results/README.md anew from the JSON files beside it.
"""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

DIRECTORY: Final = Path(__file__).parents[1] / "docs" / "results"
PAGE: Final = "README.md"
_HEAD: Final = """# What was measured

Each table is one JSON file of this folder, made by the command above it; `python -m bench.results` writes this page.
Absolute figures hold for their machine only: compare within a table.
"""


def describe_machine() -> dict[str, str | int]:
    """What a reader must know to compare figures."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def write_result(
    path: Path, *, name: str, command: str, figures: Mapping[str, Any] | Sequence[Mapping[str, Any]], note: str = ""
) -> None:
    """One result file. `figures` are rows (a list of objects) or one value by name; `note` what a reader must know."""
    result = {
        "name": name,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": describe_machine(),
        "command": command,
        "figures": figures,
    }
    path.write_text(json.dumps(result | ({"note": note} if note else {}), indent=2) + "\n")


def page(directory: Path = DIRECTORY) -> str:
    """The page for the result files of a directory."""
    results = [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]
    return "\n".join([_HEAD, *(_section(result) for result in results)])


def _section(result: Mapping[str, Any]) -> str:
    machine = ", ".join(str(value) for value in result["machine"].values())
    figures = result["figures"]
    rows = figures if isinstance(figures, list) else [{"what": name, "value": figures[name]} for name in figures]
    heads = list(rows[0]) if rows else []
    lines = [
        f"## {result['name']}",
        "",
        f"{result['date']}; {machine}. `{result['command']}`",
        "",
        *([result["note"], ""] if result.get("note") else []),
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(_cell(row[head]) for head in heads) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def main() -> None:
    """Write the page."""
    (DIRECTORY / PAGE).write_text(page())


if __name__ == "__main__":
    main()
