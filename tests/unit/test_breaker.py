"""The breaker of a deployment as a table: what it is told at which second, and what it is then."""

from dataclasses import dataclass, field

import pytest

from router_policies.breaker import OUTSIDE, Breaker, BreakerRules, Fault, State

RULES = BreakerRules(failures=3, error_rate=0.5, window_s=10, least_calls=8, cooldown_s=10, longest_s=60)


@dataclass
class Script:
    """A breaker that is told lines such as `12 fail`, `12 ok`, `12 probe ok`; the second comes first."""

    rules: BreakerRules = RULES
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.rules)

    def play(self, *lines: str) -> State:
        now = 0.0
        for line in lines:
            second, *words = line.split()
            now = float(second)
            for word in words:
                self._one(word, now)
        return self.breaker.state(now)

    def _one(self, word: str, now: float) -> None:
        breaker = self.breaker
        faults = {"fail": Fault.ERROR, "dead": Fault.UNREACHABLE, "refused": Fault.REFUSED}
        if word == "ok":
            breaker.succeeded(breaker.answered(breaker.enter(now), now))
        elif word == "head":
            breaker.answered(breaker.enter(now), now)
        elif word == "cut":
            breaker.broke(breaker.answered(breaker.enter(now), now), now)
        elif word in faults:
            breaker.failed(breaker.enter(now), faults[word], now)
        elif word.startswith("wait="):
            breaker.failed(breaker.enter(now), Fault.LIMITED, now, float(word.removeprefix("wait=")))
        elif word == "sick":
            breaker.suspect(now)
        elif word == "well":
            breaker.clear(now)
        else:
            assert word == "look"


TABLE = [
    # one failure is nothing, and an answer between two breaks the row
    (("1 fail",), State.CLOSED),
    (("1 fail fail ok fail fail",), State.CLOSED),
    (("1 fail fail fail",), State.OPEN),
    # so does the head of a stream that goes on, but only a whole body breaks the row of those that broke off
    (("1 fail fail head fail fail",), State.CLOSED),
    (("1 cut cut head",), State.CLOSED),
    (("1 cut cut head cut",), State.OPEN),
    (("1 cut cut ok cut cut",), State.CLOSED),
    # one refused connection is enough
    (("1 dead",), State.OPEN),
    # half of eight calls in ten seconds failed, never three in a row
    (("1 ok fail ok fail ok fail ok", "2 fail"), State.OPEN),
    (("1 ok ok fail ok fail ok fail ok", "2 fail"), State.CLOSED),
    # too few calls for a share
    (("1 ok fail fail ok fail fail",), State.CLOSED),
    # what is older than the window is forgotten
    (("1 ok fail ok fail ok fail ok", "12 fail"), State.CLOSED),
    # open for the cooldown, then half open
    (("1 dead", "10.9 look"), State.OPEN),
    (("1 dead", "11 look"), State.HALF_OPEN),
    (("1 dead", "11 ok"), State.CLOSED),
    (("1 dead", "11 fail"), State.OPEN),
    # twice as long each time that it has not recovered, a minute at most
    (("1 dead", "11 fail", "30.9 look"), State.OPEN),
    (("1 dead", "11 fail", "31 look"), State.HALF_OPEN),
    (("1 dead", "11 fail", "31 fail", "71 fail", "130.9 look"), State.OPEN),
    (("1 dead", "11 fail", "31 fail", "71 fail", "131 look"), State.HALF_OPEN),
    # it fell again sooner than it had been away: the cooldown grows on
    (("1 dead", "11 ok", "12 dead", "31.9 look"), State.OPEN),
    (("1 dead", "11 ok", "12 dead", "32 look"), State.HALF_OPEN),
    # it was well for longer than that: it begins anew
    (("1 dead", "11 ok", "22 dead", "32 look"), State.HALF_OPEN),
    # a provider that says how long to wait is believed, within the bound
    (("1 wait=2", "2.9 look"), State.OPEN),
    (("1 wait=2", "3 look"), State.HALF_OPEN),
    (("1 wait=86400", "60.9 look"), State.OPEN),
    (("1 wait=86400", "61 look"), State.HALF_OPEN),
    # a wrong key does not mend by itself
    (("1 refused", "60.9 look"), State.OPEN),
    (("1 refused", "61 look"), State.HALF_OPEN),
    # health checks close what they or a missing connection opened, and nothing else
    (("1 sick",), State.OPEN),
    (("1 sick", "2 well"), State.CLOSED),
    (("1 dead", "2 well"), State.CLOSED),
    (("1 fail fail fail", "2 well"), State.OPEN),
    (("1 refused", "2 well"), State.OPEN),
    # a check that fails while it is open changes nothing, one after the cooldown keeps it open
    (("1 sick", "5 sick", "11 look"), State.HALF_OPEN),
    (("1 sick", "11 sick", "30 look"), State.OPEN),
]


@pytest.mark.parametrize(("lines", "state"), TABLE, ids=[" | ".join(lines) for lines, _ in TABLE])
def test_the_state_follows_from_what_it_was_told(lines: tuple[str, ...], state: State) -> None:
    assert Script().play(*lines) is state


def test_half_open_lets_one_call_through_at_a_time() -> None:
    breaker = Breaker(RULES)
    breaker.failed(breaker.enter(0), Fault.UNREACHABLE, 0)

    admitted = [breaker.admits(9), breaker.admits(10)]
    probe, second = breaker.enter(10), breaker.enter(10)

    assert admitted == [False, True]
    assert (breaker.admits(10), second) == (False, OUTSIDE)
    assert probe != OUTSIDE


def test_a_probe_whose_client_left_makes_room_for_the_next() -> None:
    breaker = Breaker(RULES)
    breaker.failed(breaker.enter(0), Fault.UNREACHABLE, 0)

    breaker.left(breaker.enter(10))

    assert breaker.admits(10)


def test_what_was_sent_before_it_opened_neither_closes_it_nor_keeps_it_open() -> None:
    breaker = Breaker(RULES)
    early, late = breaker.enter(0), breaker.enter(0)
    breaker.failed(breaker.enter(0), Fault.UNREACHABLE, 0)

    breaker.answered(early, 1)
    breaker.failed(late, Fault.UNREACHABLE, 9)

    assert breaker.state(9) is State.OPEN
    assert breaker.state(10) is State.HALF_OPEN


def test_a_call_that_was_sent_for_want_of_another_closes_it_with_an_answer_and_changes_nothing_without() -> None:
    breaker = Breaker(RULES)
    breaker.failed(breaker.enter(0), Fault.UNREACHABLE, 0)

    breaker.failed(breaker.enter(1), Fault.UNREACHABLE, 1)
    still = breaker.state(10)
    breaker.answered(OUTSIDE, 2)

    assert (still, breaker.state(2)) == (State.HALF_OPEN, State.CLOSED)


def test_without_a_cooldown_it_never_opens() -> None:
    script = Script(BreakerRules(failures=1, cooldown_s=0))

    assert script.play("1 fail dead refused wait=9 sick") is State.CLOSED


def test_cooldowns_have_no_jitter_and_end_at_the_longest() -> None:
    rules = BreakerRules(cooldown_s=30, longest_s=300)

    assert [rules.cooldown(openings) for openings in (1, 2, 3, 4, 5, 1000)] == [30, 60, 120, 240, 300, 300]


def test_a_cooldown_longer_than_the_longest_does_not_grow() -> None:
    rules = BreakerRules(cooldown_s=30, longest_s=0)

    assert [rules.cooldown(openings) for openings in (1, 2)] == [30, 30]
