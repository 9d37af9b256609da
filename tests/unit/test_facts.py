"""What policies go by between two generations: percentiles of the latest calls, and live evidence."""

from farthing.record import Attempt, Outcome, Record
from farthing.routing import Latency, LiveEvidence
from farthing.value import changed
from gateway.facts import NO_FACTS, REFRESH_S, WINDOW, WINDOW_S, FactDesk
from ledger.testing import ManualClock, example_record


def answered(seconds: float, tier: str = "small", first: float | None = None) -> Record:
    """A call that a tier's model answered in so many seconds."""
    attempt = Attempt(deployment="p/m", status=200, error="", seconds=seconds)
    return changed(
        example_record("r", status=200),
        outcome=Outcome.SUCCESS,
        tier=tier,
        attempts=(attempt,),
        first_byte_seconds=first,
    )


def desk(clock: ManualClock) -> FactDesk:
    facts = FactDesk(clock)
    facts.needs_latencies = True
    return facts


def test_the_95th_percentile_is_that_of_the_calls_themselves() -> None:
    facts = desk(ManualClock())
    for hundredths in range(1, 101):
        facts.note(answered(hundredths / 100, first=hundredths / 200))

    facts.refresh()

    assert facts.now.latencies == (Latency(tier="small", samples=100, first_byte_s=0.475, total_s=0.95),)


def test_only_the_latest_calls_count() -> None:
    facts = desk(ManualClock())
    for _ in range(WINDOW):
        facts.note(answered(9.0))
    for _ in range(WINDOW):
        facts.note(answered(1.0))

    facts.refresh()

    assert facts.now.latencies == (Latency(tier="small", samples=WINDOW, first_byte_s=1.0, total_s=1.0),)


def test_a_tier_that_nobody_calls_any_more_is_not_known_after_a_while() -> None:
    clock = ManualClock()
    facts = desk(clock)
    facts.note(answered(9.0))
    facts.refresh()
    known = facts.now.latencies

    clock.advance(WINDOW_S + 1)
    facts.refresh()

    assert (len(known), facts.now.latencies) == (1, ())


def test_hits_and_failures_say_nothing_of_a_tier() -> None:
    facts = desk(ManualClock())
    hit = changed(answered(0.001), outcome=Outcome.HIT, attempts=())
    for record in (hit, changed(answered(9.0), outcome=Outcome.UPSTREAM_ERROR), answered(1.0, tier="")):
        facts.note(record)

    facts.refresh()

    assert facts.now.latencies == ()


def test_nothing_is_gathered_that_no_policy_asks_about() -> None:
    facts = FactDesk(ManualClock())
    facts.note(answered(1.0))

    facts.refresh()

    assert facts.now is NO_FACTS


def test_the_facts_are_the_same_value_for_as_long_as_nothing_changes() -> None:
    clock, known = ManualClock(), [LiveEvidence(task="t", tier="small", graded=1, e_worse=1.0)]
    facts = FactDesk(clock, lambda: tuple(known))
    facts.tick()
    first = facts.now

    clock.advance(REFRESH_S)
    facts.tick()
    same = facts.now
    known.append(LiveEvidence(task="t", tier="large", graded=1, e_worse=1.0))
    facts.tick()
    too_soon = facts.now
    clock.advance(REFRESH_S)
    facts.tick()

    assert same is first
    assert too_soon is first
    assert len(facts.now.evidence) == 2
