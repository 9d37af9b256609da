"""Graders that ask: judges that answer anything at all, pairs in both orders, embedders; and who may judge."""

import json
from dataclasses import replace
from typing import Any

import pytest

from evals.answers import GradedAnswer
from evals.families import family
from evals.gateway import AskFailed, RunStopped
from evals.graders import grader_key, metric_of
from evals.grading import GraderTools, grade_answer
from evals.judges import NULL_ANSWER, Standing, admit_judge, examine, gold_fault, graded_by, rehearse, standing_key
from evals.suite import Assertion, Gold, Item, Judge, Suite
from evals.verdictforms import Better, read_better, read_pass
from farthing.errors import ConfigError
from tests.askers import FakeAsker

JUDGE = Judge(model="tier/judge", rubric="It is polite.", max_chars=100)
RUBRIC = Assertion(type="llm-rubric", place="suite.yaml:7")
BEST = Assertion(type="select-best", place="suite.yaml:8")
SIMILAR = Assertion(type="similar", value=["cat", "dog"], threshold=0.75, place="suite.yaml:9")
MODELS = {
    "tiny": ("local/smollm2-135m",),
    "large": ("openai/gpt-5",),
    "judge": ("anthropic/claude-sonnet-5",),
    "kin": ("azure/o4-mini",),
}


def item(*assertions: Assertion, number: int = 0) -> Item:
    question = {"role": "user", "content": f"Question {number}?"}
    return Item(messages=(question,), assertions=assertions, max_tokens=8, temperature=0)


async def graded(asker: FakeAsker, assertion: Assertion, output: str, **answer: Any) -> Any:
    tools = GraderTools(asker=asker, judge=JUDGE, embedder="minilm")
    return await grade_answer(item(assertion), GradedAnswer(text=output, **answer), tools)


# --- what a judge says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ('{"pass": true}', True),
        (' {"pass": false, "reason": "x"}\n', False),
        ('```json\n{"pass": true}\n```', True),
        ("Pass.", True),
        ("FAIL", False),
        ('{"pass": "true"}', None),
        ('{"pass": 1}', None),
        ('{"score": 1}', None),
        ('Sure! {"pass": true}', None),
        ('{"pass": true} {"pass": false}', None),
        ("I would pass it", None),
        ("[" * 10_000, None),
        ("", None),
    ],
)
def test_a_verdict_is_json_or_a_word_and_nothing_else(said: str, verdict: bool | None) -> None:
    assert read_pass(said) is verdict


@pytest.mark.parametrize(
    ("said", "better"),
    [
        ('{"better": "A"}', Better.FIRST),
        ('{"better": "b"}', Better.SECOND),
        ('{"better": "tie"}', Better.NEITHER),
        ("B.", Better.SECOND),
        ('{"better": "both"}', None),
        ('{"better": 1}', None),
        ("A is better", None),
    ],
)
def test_a_preference_is_json_or_a_word_and_nothing_else(said: str, better: Better | None) -> None:
    assert read_better(said) is better


@pytest.mark.parametrize(("said", "score"), [("pass", 1), ("fail", 0)])
async def test_an_answer_meets_a_rubric_where_the_judge_says_so(said: str, score: float) -> None:
    asker = FakeAsker(lambda content, attempt: said)

    found = await graded(asker, RUBRIC, "Thank you.")

    assert (found.score, found.cost) == (score, 1)
    ((model, content, _),) = asker.asked
    assert model == "tier/judge"
    assert json.loads(content) == {"question": "Question 0?", "answer": "Thank you.", "rubric": "It is polite."}


@pytest.mark.parametrize("negated", [False, True])
async def test_a_judge_that_answers_nonsense_is_asked_once_more_and_then_the_item_has_no_grade(negated: bool) -> None:
    asker = FakeAsker(lambda content, attempt: "perhaps")

    found = await graded(asker, replace(RUBRIC, negated=negated), "Thank you.")

    assert found.score is None
    assert found.error.endswith("llm-rubric: the judge gave no verdict")
    assert found.error.startswith("suite.yaml:7: ")
    assert [attempt for _, _, attempt in asker.asked] == [0, 1]
    assert found.cost == 2


async def test_a_second_try_may_give_the_verdict() -> None:
    found = await graded(FakeAsker(lambda content, attempt: "pass" if attempt else "hm"), RUBRIC, "Thank you.")

    assert found.score == 1


async def test_an_empty_output_and_one_beyond_the_cap_do_not_pass_and_nobody_is_asked() -> None:
    asker = FakeAsker()

    assert (await graded(asker, RUBRIC, " \n")).score == 0
    assert (await graded(asker, RUBRIC, "x" * 101)).score == 0
    assert asker.asked == []


async def test_a_judge_that_hangs_leaves_the_item_without_a_grade() -> None:
    tools = GraderTools(asker=FakeAsker(hangs=True), judge=JUDGE, asking_s=0.01)

    found = await grade_answer(item(RUBRIC), GradedAnswer(text="Thank you."), tools)

    assert found.score is None
    assert found.error == "suite.yaml:7: llm-rubric: took more than 0.01 s"


@pytest.mark.parametrize("error", [AskFailed("upstream_error"), ValueError("secret words")])
async def test_a_judge_that_cannot_be_asked_leaves_the_item_without_a_grade(error: Exception) -> None:
    def broken(content: str, attempt: int) -> str:
        raise error

    found = await graded(FakeAsker(broken), RUBRIC, "Thank you.")

    assert found.score is None
    assert "the grader broke" in found.error
    assert "secret" not in found.error


async def test_a_spent_budget_ends_the_run_and_not_the_item_alone() -> None:
    def refused(content: str, attempt: int) -> str:
        raise RunStopped("the budget is spent")

    with pytest.raises(RunStopped):
        await graded(FakeAsker(refused), RUBRIC, "Thank you.")


async def test_a_set_may_hold_asking_graders() -> None:
    both = Assertion(type="assert-set", inner=(RUBRIC, Assertion(type="contains", value="you")))

    assert (await graded(FakeAsker(), both, "Thank you.")).score == 1
    assert (await graded(FakeAsker(), both, "Thanks.")).score == 0
    lost = await graded(FakeAsker(lambda content, attempt: ""), both, "Thank you.")
    assert (lost.score, lost.cost) == (None, 2)


async def test_what_asks_somebody_has_no_grade_where_nobody_can_be_asked() -> None:
    for assertion in (RUBRIC, BEST, SIMILAR, Assertion(type="code", value="assert True")):
        found = await grade_answer(item(assertion), GradedAnswer(text="x", reference_text="y"), GraderTools())

        assert found.score is None


# --- pairs ---------------------------------------------------------------------------------------


def prefers(text: str) -> FakeAsker:
    """A judge that prefers the answer which holds the text."""
    return FakeAsker(lambda content, attempt: "A" if text in json.loads(content)["answer A"] else "B")


@pytest.mark.parametrize(("liked", "score"), [("mine", 1), ("theirs", 0)])
async def test_a_preference_counts_where_both_orders_agree(liked: str, score: float) -> None:
    asker = prefers(liked)

    found = await graded(asker, BEST, "mine", reference_text="theirs")

    assert found.score == score
    assert [json.loads(content)["answer A"] for _, content, _ in asker.asked] == ["mine", "theirs"]


@pytest.mark.parametrize("said", ["A", "B", "tie"])
async def test_a_judge_that_goes_by_the_order_gives_a_tie(said: str) -> None:
    found = await graded(FakeAsker(lambda content, attempt: said), BEST, "mine", reference_text="theirs")

    assert found.score == 0.5


async def test_the_same_text_is_a_tie_and_nobody_is_asked() -> None:
    asker = prefers("x")

    assert (await graded(asker, BEST, "same ", reference_text="same")).score == 0.5
    assert asker.asked == []


@pytest.mark.parametrize(
    ("output", "reference", "score"),
    [("x" * 101, "short", 0), ("short", "x" * 101, 1), ("x" * 101, "y" * 101, 0.5)],
)
async def test_an_answer_beyond_the_cap_is_the_worse_one(output: str, reference: str, score: float) -> None:
    assert (await graded(FakeAsker(), BEST, output, reference_text=reference)).score == score


async def test_without_the_references_answer_there_is_no_preference() -> None:
    assert "the reference's answer is not known" in (await graded(prefers("x"), BEST, "mine")).error


# --- similarity ----------------------------------------------------------------------------------

VECTORS = {"kitten": (1.0, 0.0), "stone": (0.0, 1.0), "cat": (0.8, 0.6), "dog": (0.6, -0.8), "null": (0.0, 0.0)}


@pytest.mark.parametrize(("output", "score"), [("kitten", 1), ("stone", 0), ("", 0)])
async def test_a_text_is_similar_from_the_threshold_of_the_cosine_on(output: str, score: float) -> None:
    found = await graded(FakeAsker(vectors=VECTORS), SIMILAR, output)

    assert found.score == score  # the best of 0.8 and 0.6 for the kitten, of 0.6 and -0.8 for the stone


@pytest.mark.parametrize("output", ["null", "unknown"])
async def test_vectors_without_an_angle_leave_the_item_without_a_grade(output: str) -> None:
    negated = replace(SIMILAR, negated=True)

    assert (await graded(FakeAsker(vectors=VECTORS), negated, output)).score is None


async def test_a_vector_of_numbers_beyond_all_bounds_is_no_vector() -> None:
    vectors = {**VECTORS, "huge": (float("inf"), 1.0)}

    assert (await graded(FakeAsker(vectors=vectors), replace(SIMILAR, negated=True), "huge")).score is None


# --- who may judge -------------------------------------------------------------------------------


def gold(passing: int, failing: int) -> tuple[Gold, ...]:
    good = [Gold(prompt=f"p{n}", output=f"good {n}") for n in range(passing)]
    return (*good, *(Gold(prompt=f"p{n}", output=f"bad {n}", passes=False) for n in range(failing)))


PAIRS = tuple(Gold(prompt=f"p{n}", output=f"good {n}", other=f"bad {n}") for n in range(50))


def suite(judge: Judge, *assertions: Assertion) -> Suite:
    return Suite(
        name="tone",
        task="tone",
        bar=0.0,
        margin=0.05,
        reference="large",
        candidates=("tiny",),
        items=tuple(item(*assertions, number=number) for number in range(12)),
        judge=judge,
    )


SINGLE = suite(replace(JUDGE, gold=gold(30, 30), max_chars=1_000), RUBRIC)
PAIRWISE = suite(replace(JUDGE, gold=PAIRS, max_chars=1_000), BEST)


def sound(content: str, attempt: int) -> str:
    """A judge that knows good from bad, and what says nothing."""
    asked = json.loads(content)
    if "answer" in asked:
        return "pass" if asked["answer"].startswith("good") else "fail"
    return "A" if asked["answer A"].startswith("good") else "B"


@pytest.mark.parametrize("judged", [SINGLE, PAIRWISE])
async def test_a_judge_that_agrees_with_people_may_decide(judged: Suite) -> None:
    standing = await admit_judge(judged, FakeAsker(sound), MODELS)

    assert standing is not None
    assert standing.agreed == standing.total == len(judged.judge.gold)  # type: ignore[union-attr]
    assert (standing.refusal, standing.error) == ("", 0)
    assert standing.cost > 0


@pytest.mark.parametrize(
    ("agreed", "total", "is_enough"),
    [(50, 50, True), (46, 50, True), (45, 50, False), (102, 116, True), (101, 116, False), (0, 0, False)],
)
def test_the_lower_end_of_the_agreement_decides(agreed: int, total: int, is_enough: bool) -> None:
    standing = Standing(agreed=agreed, total=total)

    assert (standing.refusal == "") is is_enough
    assert (standing.low >= 0.80) is is_enough


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda content, attempt: "fail", "it agrees with people on 30 of 60 gold verdicts, which shows 0.38 at least"),
        (lambda content, attempt: "nonsense", "it agrees with people on 0 of 60"),
        (
            lambda content, attempt: "pass" if NULL_ANSWER[:20] in content else sound(content, attempt),
            "it let a constant answer pass that says nothing and speaks to the judge, 10 times",
        ),
    ],
)
async def test_a_judge_that_has_not_shown_its_worth_may_not_decide(reply: Any, why: str) -> None:
    placed = replace(SINGLE, places={"judge": "suite.yaml:7: judge"})

    with pytest.raises(ConfigError) as refused:
        await admit_judge(placed, FakeAsker(reply), MODELS)

    assert refused.value.message.startswith("suite.yaml:7: judge: the judge tier/judge may not decide: ")
    assert why in refused.value.message


async def test_a_rubric_inside_a_set_is_probed_too() -> None:
    def flattered(content: str, attempt: int) -> str:
        return "pass" if NULL_ANSWER[:20] in content else sound(content, attempt)

    judge = replace(JUDGE, gold=gold(30, 30), max_chars=1_000)

    with pytest.raises(ConfigError, match="it let a constant answer pass"):
        await admit_judge(suite(judge, Assertion(type="assert-set", inner=(RUBRIC,))), FakeAsker(flattered), MODELS)


async def test_a_judge_of_pairs_that_likes_a_constant_answer_may_not_decide() -> None:
    def flattered(content: str, attempt: int) -> str:
        asked = json.loads(content)
        for letter in "AB":
            if NULL_ANSWER[:20] in asked[f"answer {letter}"]:
                return letter
        return sound(content, attempt)

    with pytest.raises(ConfigError, match="preferred a real answer to a constant one that says nothing only 0 of 10"):
        await admit_judge(PAIRWISE, FakeAsker(flattered), MODELS)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("tier/kin", "the judge tier/kin and tier large are both of openai"),
        ("gpt-4.1-mini", "the judge gpt-4.1-mini and tier large are both of openai"),
        ("tier/tiny", "the judge tier/tiny and tier tiny are both of huggingface"),
    ],
)
async def test_a_judge_does_not_judge_its_own_kin(model: str, why: str) -> None:
    asker = FakeAsker(sound)

    with pytest.raises(ConfigError) as refused:
        await admit_judge(suite(replace(JUDGE, model=model), RUBRIC), asker, MODELS)

    assert why in refused.value.message
    assert asker.asked == []


@pytest.mark.parametrize(
    ("model", "maker"),
    [
        ("openai/gpt-4o-2024-08-06", "openai"),
        ("o3-mini", "openai"),
        ("bedrock/us.anthropic.claude-3-haiku", "anthropic"),
        ("vertex/gemini-1.5-pro", "google"),
        ("groq/llama-3.1-8b", "meta"),
        ("Meta-Llama-3.1-70B-Instruct", "meta"),
        ("open-mixtral-8x22b", "mistral"),
        ("local/smollm2-135m", "huggingface"),
        ("somebody/orion-7b", "orion"),
        ("7b", "7b"),
    ],
)
def test_a_family_is_told_from_the_name(model: str, maker: str) -> None:
    assert family(model) == maker


async def test_a_suite_without_a_judge_needs_none() -> None:
    plain = suite(JUDGE, Assertion(type="contains", value="x"))

    assert await admit_judge(plain, FakeAsker(), MODELS) is None
    assert await admit_judge(replace(plain, judge=None), FakeAsker(), MODELS) is None


def test_a_run_says_by_whom_it_was_graded_and_how_often_they_err() -> None:
    exact, near = (suite(JUDGE, one) for one in (Assertion(type="label"), SIMILAR))

    assert graded_by(exact, None) == "accuracy, by label"
    assert graded_by(near, None) == "similarity, by similar; how often similar errs is not known"
    assert graded_by(SINGLE, None).endswith("how often llm-rubric errs is not known")
    assert graded_by(SINGLE, Standing(agreed=58, total=60)).endswith("tier/judge agrees with people on 58 of 60")


@pytest.mark.parametrize(
    ("judged", "fault"),
    [
        (SINGLE, ""),
        (PAIRWISE, ""),
        (suite(replace(JUDGE, gold=gold(25, 24)), RUBRIC), "the judge has 49 gold verdicts: 50 of"),
        (suite(replace(JUDGE, gold=gold(60, 10)), RUBRIC), "86% of the gold passes: a judge that always says the same"),
        (suite(replace(JUDGE, gold=gold(5, 60)), RUBRIC), "8% of the gold passes"),
        (suite(replace(JUDGE, gold=PAIRS), RUBRIC), "the judge has 0 gold verdicts"),
        (suite(replace(JUDGE, gold=gold(30, 30)), BEST), "the judge has 0 gold pairs"),
    ],
)
def test_gold_that_can_show_nothing_is_found_when_the_suite_is_read(judged: Suite, fault: str) -> None:
    assert gold_fault(judged).startswith(fault) if fault else gold_fault(judged) == ""


class Remembered(dict[str, Standing]):
    """Standings in memory."""

    def find(self, key: str) -> Standing | None:
        return self.get(key)

    def keep(self, key: str, standing: Standing) -> None:
        self[key] = standing


async def test_a_standing_is_kept_until_anything_about_the_judge_changes() -> None:
    kept, asker = Remembered(), FakeAsker(sound)

    first = await admit_judge(SINGLE, asker, MODELS, kept)
    asked = len(asker.asked)
    again = await admit_judge(SINGLE, asker, MODELS, kept)

    assert again == first
    assert len(asker.asked) == asked
    changed = replace(SINGLE, judge=replace(JUDGE, rubric="It is short.", gold=gold(30, 30)))
    assert standing_key(changed, MODELS) != standing_key(SINGLE, MODELS)
    assert standing_key(SINGLE, {**MODELS, "judge": ("x/y",)}) != standing_key(SINGLE, MODELS)


async def test_a_judge_that_was_refused_stays_refused_and_is_not_asked_until_it_agrees() -> None:
    kept, asker = Remembered(), FakeAsker(lambda content, attempt: "fail")

    for _ in range(2):
        with pytest.raises(ConfigError, match="may not decide"):
            await admit_judge(SINGLE, asker, MODELS, kept)

    assert len(asker.asked) == 60 + 10  # the gold and the constant answers, once


async def test_gold_with_a_rubric_of_its_own_is_judged_by_that() -> None:
    asker = FakeAsker(sound)
    own = replace(JUDGE, gold=(Gold(prompt="p", output="good", rubric="It rhymes."),))

    await examine(suite(own, RUBRIC), own, asker)

    assert json.loads(asker.asked[0][1])["rubric"] == "It rhymes."


def test_the_judge_is_a_part_of_the_graders_key() -> None:
    keys = {
        grader_key(suite(judge, RUBRIC))
        for judge in (
            JUDGE,
            replace(JUDGE, model="tier/other"),
            replace(JUDGE, rubric="x"),
            replace(JUDGE, max_chars=7),
        )
    }

    assert len(keys) == 4
    assert metric_of(suite(JUDGE, RUBRIC)) == "share that meets the rubric"


@pytest.mark.parametrize(("judged", "questions"), [(SINGLE, 60 + 10), (PAIRWISE, 2 * (50 + 10))])
async def test_a_rehearsal_has_every_question_of_the_exam_once_and_once_more(judged: Suite, questions: int) -> None:
    asker = FakeAsker(sound)
    await admit_judge(judged, asker, MODELS)

    found = await rehearse(judged)

    assert [one.messages[-1]["content"] for one in found if not one.is_again] == [said for _, said, *_ in asker.asked]
    assert len(found) == 2 * questions == 2 * len(asker.asked)
