"""Laws of telling a task: no body breaks it, and the same body always has the same task."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from farthing.call import Endpoint
from farthing.catalog import Task
from farthing.tasksigns import Reading, TaskRule, TaskSigns, Turns
from router_policies.prompthash import normalised, prompt_hash
from router_policies.tasks import Resolver

RULES = (
    TaskRule(tools=True, tool_names=("lookup",)),
    TaskRule(json_schema=True, schema_names=("s",)),
    TaskRule(system_regex="[a-z]{3}", user_prefix="a"),
    TaskRule(image=True),
    TaskRule(languages=("en", "ru"), min_chars=3, max_chars=50),
    TaskRule(user_regex="(?i)a+b"),
)
WORDS = """type name role content text tools functions function messages input instructions response_format json_schema
image_url system developer user assistant prompt format lookup s"""
NAMES = st.sampled_from(WORDS.split())
TEXTS = NAMES | st.text(max_size=30)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=5), max_leaves=25
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user", "tool"]), "content": VALUES})
    | VALUES,
    max_size=5,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "messages": MESSAGES,
        "input": MESSAGES | VALUES,
        "instructions": VALUES,
        "prompt": VALUES,
        "tools": VALUES,
        "functions": VALUES,
        "response_format": VALUES,
        "text": VALUES,
    },
)
READINGS = st.builds(Reading, system=st.sampled_from(Turns), user=st.sampled_from(Turns))


def resolver(reading: Reading) -> Resolver:
    signs = (TaskSigns(rules=(rule,), system_prompts=frozenset({prompt_hash(str(rule))})) for rule in RULES)
    tasks = [
        Task(name=f"t{number}", bar=Decimal("0.5"), reference="large", signs=sign)
        for number, sign in enumerate(signs, start=1)
    ]
    return Resolver(tasks, reading=reading)


@given(BODIES, st.sampled_from(Endpoint), READINGS)
def test_no_body_breaks_it_and_the_answer_is_always_the_same(
    body: dict[str, Any], endpoint: Endpoint, reading: Reading
) -> None:
    first, again = resolver(reading), resolver(reading)

    found = first.resolve(first.signals(endpoint, body))

    assert found == first.resolve(first.signals(endpoint, body)) == again.resolve(again.signals(endpoint, body))
    assert found.source in ("system_prompt", "rule", "default")
    assert bool(found.task) is (found.source != "default")


@given(st.text())
def test_what_is_normalised_stays_as_it_is(text: str) -> None:
    once = normalised(text)

    assert normalised(once) == once
    assert prompt_hash(once) == prompt_hash(text)


@given(st.text(alphabet="ab \t\r\n\u00e9e\u0301"), st.text(alphabet=" \t\r\n", max_size=4))
def test_white_space_around_a_prompt_is_never_a_part_of_it(text: str, around: str) -> None:
    assert prompt_hash(around + text + around) == prompt_hash(text)
