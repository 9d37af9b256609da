"""Writes every board as JSON: `python -m boards`, from the root of the checkout."""

import json
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from boards.budgets import budgets_board
from boards.spend import spend_board

FOLDER: Final = Path(__file__).parents[1] / "config" / "grafana" / "dashboards"


def texts() -> dict[str, str]:
    """The JSON of each board, by the name of its file."""
    return {f"{name}.json": _text(made) for name, made in (("spend", spend_board()), ("budgets", budgets_board()))}


def _text(made: Dashboard) -> str:
    built = made.build()
    for number, panel in enumerate(built.panels or [], 1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write the files."""
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
