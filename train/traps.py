"""Traps and near repeats: pairs made by rule from real sentences, true by construction.

A trap changes one thing that changes the answer; a near repeat changes only how the same is said.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cache.words import ANTONYMS, STOP_WORDS


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, whether one answer serves both, and what kind of pair it is."""

    a: str
    b: str
    same: bool
    kind: str


Change = Callable[[str, random.Random], str | None]
"""A text with one thing changed, or None where the text has no such thing."""


def make_pairs(texts: Sequence[str], seed: int) -> Iterator[Pair]:
    """One trap and one near repeat of each text that allows them; every fourth trap is paraphrased on one side too."""
    dice = random.Random(seed)
    for text in texts:
        if (trap := _first(TRAPS, text, dice)) is not None:
            kind, changed = trap
            reworded = reword(changed, dice) if dice.random() < 0.25 else None
            yield Pair(text, reworded or changed, False, f"reworded {kind}" if reworded else kind)
        if (repeat := _first(REPEATS, text, dice)) is not None:
            kind, changed = repeat
            yield Pair(text, changed, True, kind)


def make_traps(texts: Sequence[str], seed: int) -> Iterator[Pair]:
    """The traps alone."""
    return (pair for pair in make_pairs(texts, seed) if not pair.same)


def _first(changes: dict[str, Change], text: str, dice: random.Random) -> tuple[str, str] | None:
    """The first change, in random order, that the text allows."""
    for kind in dice.sample(list(changes), len(changes)):
        changed = changes[kind](text, dice)
        if changed is not None and changed != text:
            return kind, changed
    return None


# --- traps ---------------------------------------------------------------------------------------

_WORD: Final = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_COUNTS: Final = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty", "thirty")
_GROUPS: Final = """
    france/germany/spain/italy/japan/china/india/canada/mexico/brazil/australia/russia/egypt/kenya/norway/sweden
    london/paris/berlin/tokyo/chicago/boston/dallas/denver/seattle/miami/atlanta/houston/rome/madrid/vienna/dublin
    dollars/euros/pounds/yen/rupees/pesos/francs
    usd/eur/gbp/jpy/aud/cad/chf
    french/german/spanish/italian/japanese/chinese/russian/portuguese/arabic
    visa/mastercard/amex/maestro
    monday/tuesday/wednesday/thursday/friday/saturday/sunday
    january/february/march/april/june/july/august/september/october/november/december
    breakfast/lunch/dinner
    mother/father/sister/brother/wife/husband/son/daughter
    red/blue/green/black/white/yellow
    apple/google/samsung/microsoft/amazon
    chicken/beef/pork/fish/turkey/lamb
    car/bike/truck/boat/plane/train/bus
    checking/savings
    north/south/east/west
    gas/electric/water/phone/internet
    passport/licence/visa/permit
    miles/kilometers/yards/feet/meters
    cups/teaspoons/tablespoons/ounces/grams/pints
    days/weeks/months/years/hours/minutes
"""
_ALIKE: Final = {word: tuple(group.split("/")) for group in _GROUPS.split() for word in group.split("/")}
_SCOPES: Final = (
    "for kids", "for beginners", "in winter", "at night", "for a small business", "without a car", "on a weekend",
    "in germany", "for my parents", "with a broken screen", "for students", "on a mac", "while abroad",
    "for a large family", "by phone", "in cash", "under 18", "for women", "on android", "at work", "for two people",
    "for seniors", "in an emergency", "from another country", "before christmas", "for a company",
)  # fmt: skip
_AUXILIARIES: Final = {
    "is": "is not", "are": "are not", "was": "was not", "were": "were not", "can": "cannot", "could": "could not",
    "do": "do not", "does": "does not", "did": "did not", "should": "should not", "will": "will not",
    "would": "would not", "has": "has not", "have": "have not", "must": "must not",
}  # fmt: skip
_UNSAID: Final = ((r"\bis not\b|\bisn't\b", "is"), (r"\bcannot\b|\bcan't\b|\bcan not\b", "can"),
                  (r"\bwon't\b|\bwill not\b", "will"), (r"\bdoes not\b|\bdoesn't\b", "does"),
                  (r"\bdo not\b|\bdon't\b", "do"), (r"\bdidn't\b|\bdid not\b", "did"),
                  (r"\bhasn't\b|\bhas not\b", "has"), (r"\bwasn't\b|\bwas not\b", "was"),
                  (r"\bwithout\b", "with"))  # fmt: skip


def _number(text: str, dice: random.Random) -> str | None:
    found = [*re.finditer(r"\d+", text), *re.finditer(rf"\b(?:{'|'.join(_COUNTS)})\b", text)]
    if not found:
        return None
    at = dice.choice(found)
    if at.group().isdigit():
        value = int(at.group()) if len(at.group()) < 10 else 7
        other = str(value + dice.choice([1, 2, 3, 5, 10]))
    else:
        other = dice.choice([word for word in _COUNTS if word != at.group()])
    return text[: at.start()] + other + text[at.end() :]


def _entity(text: str, dice: random.Random) -> str | None:
    found = [at for at in _WORD.finditer(text) if at.group().lower() in _ALIKE]
    if not found:
        return None
    at = dice.choice(found)
    other = dice.choice([word for word in _ALIKE[at.group().lower()] if word != at.group().lower()])
    return text[: at.start()] + (other.capitalize() if at.group()[0].isupper() else other) + text[at.end() :]


_OPPOSITE: Final = {x: y for pair in ANTONYMS for x, y in (pair, pair[::-1]) if len(x) > 2 and len(y) > 2}


def _antonym(text: str, dice: random.Random) -> str | None:
    found = [at for at in _WORD.finditer(text) if at.group() in _OPPOSITE]
    if not found:
        return None
    at = dice.choice(found)
    return text[: at.start()] + _OPPOSITE[at.group()] + text[at.end() :]


def _negation(text: str, dice: random.Random) -> str | None:
    for pattern, instead in _UNSAID:
        if re.search(pattern, text):
            return re.sub(pattern, instead, text, count=1)
    for pattern in (
        r"\b(i|you|we|they|it) (can|could|do|should|will|would|have|must)\b",
        r"\b(that|card|it) (is|was)\b",
    ):
        if at := re.search(pattern, text):
            return text[: at.end(1)] + " " + _AUXILIARIES[at.group(2)] + text[at.end(2) :]
    return None


def _scope(text: str, dice: random.Random) -> str | None:
    scope = dice.choice(_SCOPES)
    end = re.search(r"\s*[?.!]*\s*$", text)
    assert end is not None  # matches the empty end of every text
    return text[: end.start()] + " " + scope + text[end.start() :]


def _word(text: str, dice: random.Random) -> str | None:
    """Two content words change places."""
    found = [at for at in _WORD.finditer(text) if at.group().lower() not in STOP_WORDS and len(at.group()) > 3]
    found = [at for at in found if not at.group().endswith("ly")]
    if len(found) < 3:
        return None
    one, two = sorted(dice.sample(found, 2), key=lambda at: at.start())
    if text[one.end() : two.start()].strip() in ("", "and", "or", ",") or one.group().lower() == two.group().lower():
        return None
    return text[: one.start()] + two.group() + text[one.end() : two.start()] + one.group() + text[two.end() :]


TRAPS: Final[dict[str, Change]] = {
    "number": _number, "entity": _entity, "antonym": _antonym, "negation": _negation, "scope": _scope, "words": _word,
}  # fmt: skip


# --- near repeats --------------------------------------------------------------------------------

_BEFORE: Final = ("please ", "hi, ", "hello, ", "hey ", "quick question: ", "can you tell me ", "i would like to know ",
                  "could you please tell me ", "so ", "just wondering, ", "good morning, ")  # fmt: skip
_AFTER: Final = (" please", " thanks", ", thank you", ", please help", " thx", ", any help appreciated")
_CONTRACTIONS: Final = (
    ("what is", "what's"), ("how is", "how's"), ("i am", "i'm"), ("i have", "i've"), ("do not", "don't"),
    ("does not", "doesn't"), ("cannot", "can't"), ("can not", "can't"), ("it is", "it's"), ("where is", "where's"),
    ("i would", "i'd"), ("is not", "isn't"), ("did not", "didn't"), ("has not", "hasn't"), ("i will", "i'll"),
)  # fmt: skip
_REWORDINGS: Final = (
    (r"^how do i\b", ("how can i", "what is the way to", "what do i need to do to", "how would i", "how to")),
    (r"^how can i\b", ("how do i", "what is the way to", "how to", "how would i")),
    (r"^what is\b", ("tell me", "can you tell me", "i need to know")),
    (r"^what's\b", ("what is", "tell me", "please tell me")),
    (r"^can i\b", ("may i", "is it possible to", "am i able to", "am i allowed to")),
    (r"^where (?:can|do) i\b", ("what is the place to", "where may i", "where could i")),
    (r"^why (?:did|do|does|is|was|has)\b", ("what is the reason why",)),
    (r"^i need (?:to|you to)\b", ("i want to", "i would like to", "help me to", "i have to")),
    (r"^i want (?:to|you to)\b", ("i need to", "i would like to", "help me to")),
    (r"^(?:can|could|would) you\b", ("please", "i need you to", "i would like you to")),
    (r"^(?:please )?tell me\b", ("what is", "let me know", "i want to know")),
    (r"\bhelp me\b", ("assist me", "show me how to")),
    (r"\bbuy\b", ("purchase",)),
    (r"\bpurchase\b", ("buy",)),
    (r"\bbegin\b", ("start",)),
    (r"\bmovie\b", ("film",)),
    (r"\bbig\b", ("large",)),
    (r"\bphone\b", ("telephone",)),
    (r"\bget rid of\b", ("remove",)),
    (r"\bphoto\b", ("picture",)),
    (r"\bright now\b", ("at the moment",)),
    (r"\bas soon as possible\b", ("asap",)),
    (r"\bfind out\b", ("learn",)),
    (r"\bhow much money\b", ("how much",)),
    (r"\bhow come\b", ("why",)),
)  # fmt: skip


def reword(text: str, dice: random.Random) -> str | None:
    """The same said in other words, or None where no rule fits."""
    fits = [rule for rule in _REWORDINGS if re.search(rule[0], text, re.IGNORECASE)]
    if not fits:
        return None
    pattern, others = dice.choice(fits)
    return re.sub(pattern, dice.choice(others), text, count=1, flags=re.IGNORECASE)


def _polite(text: str, dice: random.Random) -> str | None:
    if dice.random() < 0.5:
        return dice.choice(_BEFORE) + text
    body = text.rstrip("?.! ")
    return body + dice.choice(_AFTER) + text[len(body) :]


def _typo(text: str, dice: random.Random) -> str | None:
    """Two letters change places, one falls out or one comes twice, inside a longer word."""
    found = [at for at in _WORD.finditer(text) if len(at.group()) > 4]
    if not found:
        return None
    at = dice.choice(found)
    i = dice.randrange(at.start() + 1, at.end() - 2)
    return dice.choice(
        [text[:i] + text[i + 1] + text[i] + text[i + 2 :], text[:i] + text[i + 1 :], text[:i] + text[i] + text[i:]]
    )


def _case(text: str, dice: random.Random) -> str | None:
    return dice.choice([text.lower(), text.upper(), text[:1].upper() + text[1:], text.rstrip("?.! "), text + "?"])


def _contraction(text: str, dice: random.Random) -> str | None:
    fits = [(x, y) for pair in _CONTRACTIONS for x, y in (pair, pair[::-1]) if re.search(rf"\b{x}\b", text)]
    if not fits:
        return None
    said, instead = dice.choice(fits)
    return re.sub(rf"\b{said}\b", instead, text, count=1)


REPEATS: Final[dict[str, Change]] = {
    "politeness": _polite, "typo": _typo, "case": _case, "contraction": _contraction, "reworded": reword,
}  # fmt: skip
