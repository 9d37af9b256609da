"""docs/money-failures.md names tests; they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(r"`(\w+/test_\w+\.py)::(\w+)`", (ROOT / "docs" / "money-failures.md").read_text(encoding="utf-8"))


def test_every_test_that_the_page_names_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if not re.search(rf"^(async def|def|class) {name}\(", (ROOT / "tests" / file).read_text("utf-8"), re.MULTILINE)
    ]

    assert len(NAMED) > 30
    assert missing == []


def test_every_row_of_the_page_names_a_test() -> None:
    page = (ROOT / "docs" / "money-failures.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| What")]

    assert len(rows) > 20
    assert all("::" in row for row in rows)
