"""No two requests share a paraphrase's answer that differ in anything but the last words: tenant, feature,
environment, system prompt, parameters, prior turns."""

import asyncio
import sqlite3
from importlib.resources import files
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cache.finding import SemanticRules
from cache.key import semantic_scope
from cache.loaded import LoadedScopes
from cache.semantic import Learning, SemanticCache
from cache.stores.semantic import SQLiteSemanticRows
from cache.testing import FixedCalibration, FixedGrader, FixedScorer, WordEmbedder, example_answer, example_call
from cache.vectors.memory import MemoryIndex
from farthing.call import Call, Endpoint
from ledger.testing import ManualClock

SECRET = b"s" * 32
ASKED, SAME = "What is the capital city of France?", "What's the capital city of France?"
RULES = SemanticRules(floor=0.5, max_wrong=0.05)


class World(NamedTuple):
    """All that may decide an answer besides the last words."""

    tenant: str = "acme"
    feature: str = "search"
    environment: str = ""
    partition: str = "p"
    system: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()
    turns: tuple[tuple[str, str], ...] = ()

    def call(self, text: str) -> Call:
        """The call that asks `text` in this world."""
        before = [{"role": "system", "content": self.system}] if self.system else []
        before += [{"role": role, "content": said} for role, said in self.turns]
        messages = [*before, {"role": "user", "content": text}]
        body = {"model": "m", "messages": messages, **dict(self.parameters)}
        return example_call(body, tenant=self.tenant, feature=self.feature, environment=self.environment)


SAID = st.sampled_from(["Hello there.", "Which country is meant?", "The one in Europe.", "Hello there. "])
WORLDS = st.builds(
    World,
    tenant=st.sampled_from(["acme", "acm", "globex"]),
    feature=st.sampled_from(["search", "earch", "faq"]),
    environment=st.sampled_from(["", "test", "production"]),
    partition=st.sampled_from(["p", "q"]),
    system=st.sampled_from(["", "Be brief.", "Be brief. ", "You sell cars."]),
    parameters=st.sampled_from(
        [(), (("temperature", 0),), (("temperature", 0.2),), (("max_tokens", 5),), (("top_p", 0.5),)]
    ),
    turns=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), SAID), max_size=3).map(tuple),
)


def _cache() -> SemanticCache:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(files("cache.stores").joinpath("semantic.sql").read_text("utf-8"))
    embedder = WordEmbedder()
    learning = Learning(scorer=FixedScorer(), calibrations=FixedCalibration, grader=FixedGrader())
    rows = SQLiteSemanticRows(connection)
    loaded = LoadedScopes(rows, MemoryIndex(), dimension=embedder.dimension)
    return SemanticCache(rows, loaded, embedder, ManualClock(), learning=learning, deadline_s=5.0)


def _scope(world: World, text: str = ASKED) -> bytes:
    scope = semantic_scope(SECRET, world.call(text), world.partition, "v")
    assert scope is not None
    return scope


async def _is_served(kept: World, asked: World) -> bool:
    cache = _cache()
    await cache.add(kept.call(ASKED), _scope(kept), example_answer(), ttl_s=600)
    found = await cache.find(asked.call(SAME), _scope(asked, SAME), RULES)
    await cache.close()
    return found.hit is not None


@settings(max_examples=60, deadline=None)
@given(WORLDS, WORLDS)
@example(World(turns=(("user", "a"), ("assistant", "b"))), World(turns=(("assistant", "a"), ("user", "b"))))
@example(World(tenant="a", feature="bc"), World(tenant="ab", feature="c"))
@example(World(system="x"), World(turns=(("user", "x"),)))
def test_an_answer_is_served_only_in_the_world_in_which_it_was_given(kept: World, asked: World) -> None:
    assert not (asyncio.run(_is_served(kept, asked)) and kept != asked)


@settings(max_examples=20, deadline=None)
@given(WORLDS)
def test_in_its_own_world_a_question_that_is_looked_up_finds_its_paraphrase(world: World) -> None:
    followup = any(role == "user" for role, _ in world.turns)

    assert asyncio.run(_is_served(world, world)) or followup


@given(WORLDS, WORLDS, st.text(max_size=20), st.text(max_size=20))
def test_scopes_are_equal_exactly_when_all_but_the_last_words_are(
    one: World, other: World, text: str, more: str
) -> None:
    assert (_scope(one, text) == _scope(other, more)) == (one == other)


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=5)), max_size=3), st.text(max_size=5)
)
def test_a_turn_more_or_less_is_another_scope(turns: list[tuple[str, str]], said: str) -> None:
    base = World(turns=tuple(turns))

    assert _scope(base) != _scope(base._replace(turns=(*base.turns, ("assistant", said))))
    assert _scope(base) != _scope(base._replace(turns=(("user", said), *base.turns)))


def test_the_two_endpoints_share_nothing() -> None:
    body = {"model": "m", "input": [{"role": "user", "content": ASKED}]}
    response = example_call(body, endpoint=Endpoint.RESPONSES)

    assert semantic_scope(SECRET, response, "p", "v") != _scope(World())
