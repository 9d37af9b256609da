"""The benchmark of what routing costs: each way of telling a task is measured, and is the way that it says."""

from bench.routing_cost import BY_EXAMPLES, CASES, cost_figures


def test_every_way_of_telling_a_task_is_measured() -> None:
    rows = cost_figures(calls=3, rounds=1)

    assert [row["task by"] for row in rows] == [case.name for case in (*CASES, BY_EXAMPLES)]
    assert all(row["routing, us"] >= 0 and row["task, us"] >= 0 for row in rows)
    assert rows[-1]["wait p50, us"] <= rows[-1]["wait p99, us"]
