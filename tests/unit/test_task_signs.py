"""By what a request shows its task: hash of the system prompt, rules in their order, and nothing where nothing fits."""

from decimal import Decimal
from typing import Any

import pytest

from farthing.call import Endpoint
from farthing.catalog import Task
from farthing.tasksigns import Reading, TaskRule, TaskSigns, Turns
from router_policies.languages import LANGUAGES, language_of
from router_policies.patterns import MOST_STEPS, BadPattern, head, searcher
from router_policies.prompthash import normalised, prompt_hash
from router_policies.signals import Signals
from router_policies.tasks import LONGEST_HASHED, LONGEST_KEPT, UNRESOLVED, Classifier, Guess, Resolver

SORTING = "You sort support tickets."
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def task(name: str, *rules: TaskRule, prompts: tuple[str, ...] = ()) -> Task:
    signs = TaskSigns(system_prompts=frozenset(map(prompt_hash, prompts)), rules=rules)
    return Task(name=name, bar=Decimal("0.8"), reference="large", signs=signs)


def body(user: Any = "hello", system: Any = None, **more: Any) -> dict[str, Any]:
    said = [] if system is None else [{"role": "system", "content": system}]
    return {"model": "auto", "messages": [*said, {"role": "user", "content": user}], **more}


def seen(asked: dict[str, Any], endpoint: Endpoint = Endpoint.CHAT, **reading: Turns) -> Signals:
    return Signals(endpoint, asked, Reading(**reading))


def resolve(resolver: Resolver, asked: dict[str, Any], endpoint: Endpoint = Endpoint.CHAT) -> tuple[str, str]:
    found = resolver.resolve(resolver.signals(endpoint, asked))
    return found.task, found.source


class Sure:
    """Port `Classifier`: always the same guess."""

    def __init__(self, task: str = "guessed", margin: float = 1.0) -> None:
        self._guess = Guess(task, margin, 1.0)

    def guess(self, text: str) -> Guess:
        return self._guess

    def is_sure(self, guess: Guess) -> bool:
        return guess.margin >= 0.5


# --- the hash of a system prompt -----------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        "  You sort tickets.\n\nBe brief.\n",
        "You sort tickets.\r\n\r\nBe brief.",
        "You sort tickets.\r\rBe brief.",
        "You sort tickets.  \n \t\nBe brief.\t",
    ],
)
def test_white_space_that_nobody_sees_does_not_change_the_hash(same: str) -> None:
    assert prompt_hash(same) == prompt_hash("You sort tickets.\n\nBe brief.")


@pytest.mark.parametrize("other", ["you sort tickets.", "You sort  tickets.", "You sort\ntickets.", "You sort tickets"])
def test_whatever_can_be_seen_changes_the_hash(other: str) -> None:
    assert prompt_hash(other) != prompt_hash("You sort tickets.")


def test_letters_written_in_two_ways_are_the_same_letters() -> None:
    assert prompt_hash("caf\u00e9") == prompt_hash("cafe\u0301")


def test_the_hash_is_that_of_the_normalised_text_and_pinned_so_that_configurations_stay_valid() -> None:
    assert normalised(" a \r\nb\n") == "a\nb"
    assert prompt_hash(" a \r\nb\n") == "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"


def test_a_prompt_of_white_space_alone_has_no_hash() -> None:
    assert prompt_hash(" \n\t") == ""


# --- the order -----------------------------------------------------------------------------------

ANY = TaskRule(min_chars=1)


@pytest.mark.parametrize(
    ("tasks", "classifier", "resolved"),
    [
        ([task("a", ANY), task("b", prompts=(SORTING,))], Sure(), ("b", "system_prompt")),
        ([task("a", ANY), task("b", ANY)], Sure(), ("a", "rule")),
        ([task("a", TaskRule(tools=True)), task("b", ANY)], Sure(), ("b", "rule")),
        ([task("a", TaskRule(tools=True))], Sure(), ("guessed", "centroid")),
        ([task("a", TaskRule(tools=True))], Sure(margin=0.4), ("", "default")),
        ([task("a", TaskRule(tools=True))], Sure(task=""), ("", "default")),
        ([task("a", TaskRule(tools=True))], None, ("", "default")),
        ([], None, ("", "default")),
    ],
)
def test_a_hash_goes_before_rules_rules_before_examples_and_the_first_rule_declared_wins(
    tasks: list[Task], classifier: Classifier | None, resolved: tuple[str, str]
) -> None:
    assert resolve(Resolver(tasks, classifier=classifier), body(system=SORTING)) == resolved


def test_what_decided_is_said_in_words() -> None:
    rules = TaskRule(image=True), TaskRule(tools=False, min_chars=3, system_prefix="You")
    resolver = Resolver([task("sorting", *rules, prompts=("Other.",))], classifier=Sure())

    by_rule = resolver.resolve(seen(body(system=SORTING)))
    by_hash = resolver.resolve(seen(body(system="Other.")))
    by_guess = resolver.resolve(seen(body()))
    by_nothing = Resolver([]).resolve(seen(body()))

    assert by_rule.rule == "rule 2 of sorting: system_prefix, tools, min_chars"
    assert by_hash.rule == f"system prompt sha256:{prompt_hash('Other.')[:12]} of sorting"
    assert by_guess.rule == "examples of guessed: margin 1.000"
    assert by_nothing == UNRESOLVED


def test_a_long_system_prompt_is_known_by_its_hash_as_a_short_one_is() -> None:
    text = "word " * LONGEST_KEPT

    assert resolve(Resolver([task("long", prompts=(text,))]), body(system=text)) == ("long", "system_prompt")


# --- conditions ----------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "lookup", "parameters": {}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "ticket_class", "schema": {}}}


@pytest.mark.parametrize(
    ("rule", "fits", "fits_not"),
    [
        (TaskRule(tools=True), body(tools=[TOOL]), body(tools=[])),
        (TaskRule(tools=False), body(), body(functions=[{"name": "lookup"}])),
        (TaskRule(tool_names=("other", "lookup")), body(tools=[TOOL]), body(tools=[{"type": "function"}])),
        (TaskRule(tool_names=("lookup",)), body(functions=[{"name": "lookup"}]), body()),
        (TaskRule(tool_names=("web_search",)), body(tools=[{"type": "web_search"}]), body(tools=[TOOL])),
        (TaskRule(json_schema=True), body(response_format=SCHEMA), body(response_format={"type": "json_object"})),
        (TaskRule(json_schema=False), body(), body(response_format=SCHEMA)),
        (TaskRule(schema_names=("ticket_class",)), body(response_format=SCHEMA), body()),
        (TaskRule(image=True), body([{"type": "text", "text": "what?"}, IMAGE]), body()),
        (TaskRule(image=False), body(), body([IMAGE])),
        (TaskRule(system_prefix="You sort"), body(system="\n You sort"), body(system="Now: You sort")),
        (TaskRule(system_regex="(?i)TICKETS?\\b"), body(system=SORTING), body("tickets")),
        (TaskRule(user_prefix="Translate:"), body("Translate: hi"), body("translate: hi")),
        (TaskRule(user_regex="^[0-9 +*-]+$"), body("1 + 2"), body("one + 2")),
        (TaskRule(min_chars=5), body("12345"), body("1234")),
        (TaskRule(max_chars=4), body("1234"), body("12345")),
        (TaskRule(languages=("de", "fr")), body("Wie kann ich das Passwort ändern?"), body("How do I change it?")),
        (TaskRule(tools=True, min_chars=5), body("12345", tools=[TOOL]), body("1234", tools=[TOOL])),
    ],
)
def test_a_rule_takes_what_fits_every_condition(rule: TaskRule, fits: dict[str, Any], fits_not: dict[str, Any]) -> None:
    resolver = Resolver([task("t", rule)])

    assert resolve(resolver, fits) == ("t", "rule")
    assert resolve(resolver, fits_not) == ("", "default")


def test_a_body_of_the_responses_api_is_read_by_its_own_names() -> None:
    asked = {
        "instructions": SORTING,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hm"}, {"type": "input_image"}]}],
        "tools": [{"type": "function", "name": "lookup"}],
        "text": {"format": {"type": "json_schema", "name": "ticket_class"}},
    }
    found = seen(asked, Endpoint.RESPONSES)

    assert (found.system, found.user, found.schema, found.has_image) == (SORTING, "Hm", "ticket_class", True)
    assert found.tool_names == {"lookup"}
    assert seen({"input": "plain"}, Endpoint.RESPONSES).user == "plain"
    assert seen({"prompt": "plain"}, Endpoint.COMPLETIONS).text == "plain"


TURNS = {
    "messages": [
        {"role": "system", "content": "s1"},
        {"role": "user", "content": "u1"},
        {"role": "assistant", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "s2"}, {"type": "text", "text": "s3"}]},
        {"role": "user", "content": "u2"},
        {"role": "tool", "content": "t"},
    ]
}


@pytest.mark.parametrize(
    ("turns", "system", "user"),
    [(Turns.FIRST, "s1", "u1"), (Turns.LAST, "s2\ns3", "u2"), (Turns.ALL, "s1\ns2\ns3", "u1\nu2")],
)
def test_of_several_messages_those_are_read_that_the_configuration_says(turns: Turns, system: str, user: str) -> None:
    found = seen(TURNS, system=turns, user=turns)

    assert (found.system, found.user) == (system, user)


def test_by_default_the_first_system_message_and_the_last_of_the_user_are_read() -> None:
    assert Signals(Endpoint.CHAT, TURNS).text == "s1\nu2"


# --- patterns and languages ----------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["(a", "(?<=a)b", r"(a)\1", "a" * 513, "((a{30}){30}){3}"])
def test_a_pattern_that_could_run_for_long_or_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        searcher(pattern)


def test_a_pattern_that_would_make_others_backtrack_for_ever_does_not_here() -> None:
    assert not searcher("^(a+)+$")(head("a" * 8_000 + "b"))
    assert MOST_STEPS < 10_000


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Why is my card declined, and what can I do about it?", "en"),
        ("Warum wird meine Karte nicht angenommen, und was kann ich tun?", "de"),
        ("Pourquoi est-ce que ma carte est refusée dans le magasin ?", "fr"),
        ("¿Por qué no se acepta mi tarjeta en la tienda?", "es"),
        ("Perché la mia carta non è accettata nel negozio?", "it"),
        ("Waarom wordt mijn kaart niet geaccepteerd in de winkel?", "nl"),
        ("Porque é que o meu cartão não foi aceite na loja?", "pt"),
        ("Dlaczego moja karta nie jest przyjmowana w sklepie?", "pl"),
        ("Proč se moje karta v obchodě nedá použít a co s tím?", "cs"),
        ("Varför kan jag inte betala med mitt kort i affären?", "sv"),
        ("Miksi kortti ei toimi, ja mitä minä voin tehdä?", "fi"),
        ("Kartım neden kabul edilmedi ve ne yapabilirim, bu çok önemli?", "tr"),
        ("Почему мою карту не принимают?", "ru"),
        ("なぜ私のカードは使えないのですか", "ja"),
        ("为什么我的卡被拒绝了", "zh"),
        ("왜 내 카드가 거절되나요", "ko"),
        ("x = [1, 2, 3]", ""),
        ("", ""),
    ],
)
def test_a_sentence_is_known_by_its_letters_or_its_small_words(text: str, language: str) -> None:
    assert language_of(text) == language
    assert language in (*LANGUAGES, "")


def test_a_prompt_too_long_to_be_hashed_has_none_and_its_rules_still_hold() -> None:
    text = "You sort" + " " * LONGEST_HASHED

    resolver = Resolver([task("sorting", TaskRule(system_prefix="You sort"), prompts=(text,))])

    assert resolver.prompt(seen(body(system=text))).hash == ""
    assert resolve(resolver, body(system=text)) == ("sorting", "rule")


def test_a_long_system_prompt_does_not_hide_from_the_classifier_what_the_user_says() -> None:
    found = seen(body("What is 1 + 1?", "word " * 10_000)).text

    assert found.endswith("\nWhat is 1 + 1?")
    assert len(found) < 5_000
