"""Calibration: nothing before evidence, a threshold that keeps its budget, a stop when the stream turns, a state."""

import random

import pytest

from cache.calibration import (
    FIRST_FIT,
    LEAST_SHADOW,
    LEAST_WINDOW,
    NEVER,
    SPENT_ERROR,
    YOUNG,
    Calibration,
    Candidate,
    Evidence,
)
from cache.evidence import FADES_AT, HitEvidence
from cache.secondstage import SECOND_STAGE_EVERY


def sigmoid_chance(score: float) -> float:
    """How often a pair of this score is right in these tests: never at 0, always at 1, steep at 0.7."""
    return min(1.0, max(0.0, (score - 0.4) / 0.5))


class Traffic:
    """Requests whose best candidate has a random score; `wrong` counts what was served wrongly."""

    def __init__(self, calibration: Calibration, seed: int = 1) -> None:
        self.calibration = calibration
        self.dice = random.Random(seed)
        self.requests = self.hits = self.wrong = 0

    def run(self, requests: int, *, hostile: bool = False, creeping: float = 0.0) -> None:
        """`creeping`: a share of requests that nobody's answer serves, however near."""
        for _ in range(requests):
            score = self.dice.random()
            same = not hostile and self.dice.random() < sigmoid_chance(score) * (1 - creeping)
            self.request(self.requests, score, same)
            self.requests += 1

    def request(self, entry: int, score: float, same: bool) -> None:
        tau = self.calibration.tau
        p = self.calibration.p(entry, score)
        hit = tau is not None and p >= tau
        self.calibration.note_request(p)
        if not hit:
            self.calibration.learn(entry, score, same)
            return
        self.hits += 1
        self.wrong += not same
        share = self.calibration.grading_share(p)
        if self.dice.random() < share:
            self.calibration.learn(entry, score, same, 1 / share, served=True)


def test_without_evidence_there_is_no_threshold_and_no_probability() -> None:
    calibration = Calibration(0.01)

    for number in range(FIRST_FIT - 1):
        calibration.note_request(0.0)
        calibration.learn(number, 0.9, True)

    assert calibration.tau is None
    assert calibration.p(1, 0.99) == 0.0


def test_enough_labels_make_a_threshold() -> None:
    traffic = Traffic(Calibration(0.01))

    traffic.run(FIRST_FIT + max(LEAST_WINDOW, SECOND_STAGE_EVERY) + 60)

    tau = traffic.calibration.tau
    assert tau is not None
    assert 0.5 < tau < 1


@pytest.mark.parametrize("budget", [0.005, 0.01, 0.02])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_budget_holds_and_is_used(budget: float, seed: int) -> None:
    traffic = Traffic(Calibration(budget), seed)

    traffic.run(4000)

    assert traffic.wrong <= budget * traffic.requests
    assert traffic.hits >= 0.05 * traffic.requests  # a tenth of all scores are always right


def test_a_higher_score_is_never_less_likely_for_an_entry() -> None:
    traffic = Traffic(Calibration(0.01))
    traffic.run(1500)

    told = [traffic.calibration.p(-1, score / 100) for score in range(101)]

    assert told == sorted(told)


def test_a_stream_that_turns_hostile_is_stopped_within_the_budget() -> None:
    traffic = Traffic(Calibration(0.01))
    traffic.run(3000)

    traffic.run(300, hostile=True)
    stopped = traffic.calibration.stopped
    traffic.run(700, hostile=True)

    assert stopped
    assert traffic.wrong <= 0.01 * traffic.requests


def test_a_stopped_calibration_goes_on_when_it_has_learned_anew() -> None:
    traffic = Traffic(Calibration(0.01))
    traffic.run(2500)
    traffic.run(200, hostile=True)
    assert traffic.calibration.stopped
    hits = traffic.hits

    traffic.run(4000)

    assert not traffic.calibration.stopped
    assert traffic.hits > hits
    assert traffic.wrong <= 0.01 * traffic.requests


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_stream_that_turns_worse_by_little_is_held_to_the_budget_too(seed: int) -> None:
    traffic = Traffic(Calibration(0.01), seed)
    traffic.run(2000)

    traffic.run(2000, creeping=0.1)

    assert traffic.wrong <= 0.01 * traffic.requests


def test_a_spent_budget_serves_nothing_until_requests_have_made_up_for_it() -> None:
    traffic = Traffic(Calibration(0.01))
    traffic.run(1500)
    calibration = traffic.calibration
    assert calibration.p(-1, 0.99) >= (calibration.tau or 0)

    for number in range(6):
        calibration.note_request(0.99, hit=True)
        calibration.learn(-2 - number, 0.99, False, served=True)
    spent = calibration.tau
    for _ in range(3000):
        calibration.note_request(0.0, hit=False)
        calibration.learn(-100, 0.2, False)

    assert spent == NEVER
    assert calibration.tau is not None
    assert calibration.tau < 1


def test_a_small_budget_has_more_of_its_hits_graded() -> None:
    shares = []
    for budget in (0.002, 0.02):
        traffic = Traffic(Calibration(budget))
        traffic.run(4000)
        for number in range(YOUNG):
            traffic.calibration.learn(-number, 0.95, True, served=True)
        shares.append(traffic.calibration.grading_share(0.9999))

    assert shares[0] == pytest.approx(1 / (1 + SPENT_ERROR**2 * 0.002 * 4000))
    assert shares[1] < shares[0] / 2


def test_wrong_grades_lower_an_entry_and_right_ones_raise_it() -> None:
    traffic = Traffic(Calibration(0.01))
    traffic.run(1000)
    calibration = traffic.calibration
    before = calibration.p(-1, 0.7)

    calibration.learn(-1, 0.7, False)
    lowered = calibration.p(-1, 0.7)
    calibration.learn(-2, 0.7, True)

    assert lowered < before < calibration.p(-2, 0.7)


def test_entries_with_the_same_answer_vote_together() -> None:
    calibration = Calibration(0.01)
    near = [Candidate(1, 0.9, 0.8), Candidate(2, 0.88, 0.8), Candidate(3, 0.85, 0.8)]
    alone = calibration.weigh(near[0], near)

    calibration.learn(1, alone, True, kept=2)

    assert alone == Evidence(0.9, 0.8, pytest.approx(0.02), 0)
    assert calibration.weigh(near[0], near) == Evidence(0.9, 0.8, pytest.approx(0.05), 1)


def test_of_near_entries_the_likeliest_is_chosen() -> None:
    traffic = Traffic(Calibration(0.01))
    traffic.run(1000)

    chosen = traffic.calibration.choose([Candidate(-1, 0.8, 0.5), Candidate(-2, 0.8, 0.9)])

    assert chosen is not None
    assert chosen.entry == -2
    assert traffic.calibration.choose([]) is None


@pytest.mark.parametrize("requests", [0, 100, 450, 2600])
def test_a_state_goes_on_where_it_was(requests: int) -> None:
    first = Traffic(Calibration(0.01))
    first.run(requests)

    again = Calibration.of_state(0.01, first.calibration.state())

    assert again.tau == first.calibration.tau
    assert again.estimate() == first.calibration.estimate()
    told = [calibration.p(7, 0.8) for calibration in (first.calibration, again)]
    assert told[0] == pytest.approx(told[1], abs=1e-5)
    # Both go on alike.
    for calibration in (first.calibration, again):
        traffic = Traffic(calibration, seed=5)
        traffic.run(300)
    assert again.tau == pytest.approx(first.calibration.tau, abs=1e-3)


@pytest.mark.parametrize("state", [b"", b"nonsense", b'{"version": 99}\n', b"[]\n"])
def test_a_state_that_cannot_be_read_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError):
        Calibration.of_state(0.01, state)


def test_all_hits_are_graded_at_first_and_then_sure_ones_less_often_than_doubtful_ones() -> None:
    traffic = Traffic(Calibration(0.01))
    young = traffic.calibration.grading_share(0.999)

    traffic.run(4000)

    assert young == 1
    assert LEAST_SHADOW <= traffic.calibration.grading_share(0.999) < traffic.calibration.grading_share(0.9) < 1


# --- evidence ------------------------------------------------------------------------------------


def test_the_estimate_counts_every_grade_as_so_many_hits() -> None:
    evidence = HitEvidence()
    for _ in range(1000):
        evidence.request(hit=True)
    for _ in range(1000):
        evidence.request(hit=False)
    for number in range(45):  # 900 sure hits
        evidence.graded(same=number > 0, weight=20)  # 1 of 45
    for number in range(50):  # 100 doubtful ones
        evidence.graded(same=number >= 10, weight=2)  # 10 of 50

    found = evidence.estimate()

    assert (found.requests, found.hits, found.graded, found.wrong_graded) == (2000, 1000, 95, 11)
    assert found.wrong_per_hit.estimate == pytest.approx(0.9 / 45 + 0.1 * 0.2)
    assert found.wrong_per_request.estimate == pytest.approx(0.02)
    assert found.wrong_per_hit.low < 0.04 < found.wrong_per_hit.high


def test_where_all_grades_weigh_the_same_the_interval_is_wilsons() -> None:
    evidence = HitEvidence()
    for number in range(400):
        evidence.request(hit=True)
        evidence.graded(same=number >= 8, weight=1)

    found = evidence.estimate().wrong_per_hit

    assert found.estimate == 0.02  # Wilson of 8 in 400: 1.02 % to 3.89 %
    assert found.low == pytest.approx(0.0102, abs=2e-4)
    assert found.high == pytest.approx(0.0389, abs=2e-4)


def test_grades_that_stand_for_more_hits_weigh_more() -> None:
    evidence = HitEvidence()
    for number in range(300):
        evidence.request(hit=True)
        if number < 100:  # at first all are graded
            evidence.graded(same=True, weight=1)
        elif number % 20 == 0:  # later one of 20: 2 of 10 are wrong
            evidence.graded(same=number % 100 > 0, weight=20)

    assert evidence.estimate().wrong_per_hit.estimate == pytest.approx(2 * 20 / (100 + 10 * 20))


def test_what_was_spent_is_known_where_all_hits_were_graded() -> None:
    evidence = HitEvidence()
    for number in range(200):
        evidence.request(hit=number % 2 == 0)
        if number % 2 == 0:
            evidence.graded(same=number >= 4, weight=1)

    assert evidence.spent(2.0) == 0.01


def test_what_was_spent_is_bounded_where_some_hits_were_graded() -> None:
    evidence = HitEvidence()
    for number in range(2000):
        evidence.request(hit=True)
        if number % 10 == 0:
            evidence.graded(same=number >= 20, weight=10)

    # 2 of 200 of 2,000: 20, with the standard error sqrt(2 * 10 * 9) = 13.4
    assert evidence.spent(0) == pytest.approx(20 / 2000)
    assert (20 + 13.4) / 2000 < evidence.spent(1.0) < (20 + 20) / 2000  # Wilson's bound lies above


def test_grades_of_other_processes_alone_spend_nothing() -> None:
    evidence = HitEvidence()
    evidence.graded(same=False, weight=1)

    assert evidence.spent(1.0) == 0


def test_what_was_served_long_ago_fades() -> None:
    evidence = HitEvidence()
    for _ in range(FADES_AT - 1):
        evidence.request(hit=True)
        evidence.graded(same=True, weight=1)
    for _ in range(FADES_AT // 2):
        evidence.request(hit=True)
        evidence.graded(same=False, weight=1)

    found = evidence.estimate()

    assert found.requests < FADES_AT
    assert found.wrong_per_hit.estimate == pytest.approx(1 / 2, abs=0.01)


def test_nothing_graded_is_no_knowledge() -> None:
    evidence = HitEvidence()
    evidence.request(hit=True)

    assert (evidence.estimate().wrong_per_hit.low, evidence.estimate().wrong_per_hit.high) == (0, 1)
