"""The tables of the ledger in PostgreSQL, where they are not what SQLite's are."""

from collections.abc import Callable

from ledger.testing import ManualClock, example_record
from tests.ledgers import Engine


def test_no_text_follows_the_collation_of_the_database(engine_named: Callable[[str], Engine]) -> None:
    others = """
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name NOT IN ('meta', 'instances')
          AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'
    """

    assert engine_named("postgres").rows(others) == []


def test_both_engines_have_the_same_columns(engine_named: Callable[[str], Engine]) -> None:
    sqlite, postgres = engine_named("sqlite"), engine_named("postgres")

    columns = postgres.rows(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND table_name <> 'instances' AND column_name <> 'rowid'"
    )

    assert set(columns) == set(
        sqlite.rows(
            "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
            "WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite%'"
        )
    )


async def test_a_nul_in_a_name_is_written_as_the_replacement_character(engine_named: Callable[[str], Engine]) -> None:
    engine = engine_named("postgres")

    await engine.settle(example_record("a", model_requested="m\0n", finish_reason="\\u0000"), clock=ManualClock())

    assert engine.rows("SELECT model_requested, finish_reason FROM records") == [
        ("m\N{REPLACEMENT CHARACTER}n", "\\u0000")
    ]


def test_a_job_that_has_ended_makes_room_at_once(engine_named: Callable[[str], Engine]) -> None:
    database = engine_named("postgres").database

    for _ in range(20):
        with database.exclusively("archive"):
            pass
