"""Replaying a period: every record once, in order, or an even draw of them."""

from ledger.replay import CHUNK, Drawn, replay
from ledger.testing import example_record
from tests.ledgers import Engine

START_NS = 1_700_000_000 * 10**9


def ids(engine: Engine, *, most: int = 10**6, since_ns: int = 0, until_ns: int = 2**62) -> tuple[list[str], Drawn]:
    seen: list[str] = []
    drawn = replay(
        engine.database, since_ns=since_ns, until_ns=until_ns, most=most, visit=lambda record: seen.append(record.id)
    )
    return seen, drawn


async def test_each_record_of_the_period_comes_once_in_the_order_of_time(engine: Engine) -> None:
    await engine.settle(*(example_record(f"r{number}", received_ns=START_NS - number) for number in range(5)))

    seen, drawn = ids(engine, since_ns=START_NS - 3, until_ns=START_NS)

    assert seen == ["r3", "r2", "r1"]
    assert drawn == Drawn(3, 3, 0)


async def test_more_records_than_fit_in_memory_at_one_time_are_all_seen(engine: Engine) -> None:
    """Many of one nanosecond, so that a chunk ends in the midst of them."""
    count = 2 * CHUNK + 7
    await engine.settle(
        *(example_record(f"r{number}", received_ns=START_NS + number // 900) for number in range(count))
    )

    seen, drawn = ids(engine)

    assert len(seen) == len(set(seen)) == drawn.records == drawn.taken == count


async def test_too_many_are_drawn_evenly_and_the_same_ones_each_time(engine: Engine) -> None:
    count = 2_000
    await engine.settle(*(example_record(f"r{number}", received_ns=START_NS + number) for number in range(count)))

    seen, drawn = ids(engine, most=500)
    again, _ = ids(engine, most=500)

    assert seen == again
    assert drawn.records == count
    assert drawn.taken == len(seen)
    assert 400 < len(seen) < 600
    early = sum(int(one.removeprefix("r")) < count // 2 for one in seen)
    assert 0.4 < early / len(seen) < 0.6


async def test_nothing_comes_of_an_empty_period(engine: Engine) -> None:
    assert ids(engine) == ([], Drawn(0, 0, 0))
