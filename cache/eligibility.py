"""Eligibility: which calls may look for a paraphrase at all, and the reason why another may not.

Every rule errs on the side of not looking: an exact hit stays possible, only the paraphrase is given up.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from cache.prompts import Turn, last_turn
from cache.words import ENGLISH, PRONOUNS
from farthing.call import Call, Endpoint

# MiniLM reads 128 tokens and drops the rest; English has more than 4 characters a token.
MAX_CHARACTERS: Final = 400
MAX_WORDS: Final = 80
MIN_WORDS: Final = 3
MAX_TEMPERATURE: Final = 0.3

_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")


def eligible(call: Call) -> str:
    """Empty if the call may be answered with a paraphrase's answer, otherwise the reason in one word."""
    turn = last_turn(call.endpoint, call.body)
    if turn is None:
        return "endpoint" if call.endpoint not in (Endpoint.CHAT, Endpoint.RESPONSES) else "content"
    for reason, applies in _CALL_RULES:
        if applies(call.body):
            return reason
    if reason := _history(turn, call.body):
        return reason
    return unmatchable(turn.text, followup=any(said.get("role") == "user" for said in turn.before))


def unmatchable(text: str, *, followup: bool = False) -> str:
    """Why this user text cannot be matched, or empty. `followup`: there are earlier user turns."""
    if len(text) > MAX_CHARACTERS:
        return "long"
    lowered = text.lower().replace("’", "'")
    words = _WORD.findall(lowered)
    if len(words) > MAX_WORDS:
        return "long"
    for reason, pattern in _TEXT_RULES:
        if pattern.search(lowered):
            return reason
    if _is_foreign(lowered):
        return "language"
    if reason := _dependent(lowered, words, followup):
        return reason
    return "language" if ENGLISH.isdisjoint(words) else ""


# --- parameters ----------------------------------------------------------------------------------


def _tools(body: Mapping[str, Any]) -> bool:
    return any(body.get(name) for name in ("tools", "functions", "web_search_options"))


def _structured(body: Mapping[str, Any]) -> bool:
    text = body.get("text")
    forms = [body.get("response_format"), text.get("format") if isinstance(text, dict) else None]
    return any(form != {"type": "text"} for form in forms if form is not None)


def _sampled(body: Mapping[str, Any]) -> bool:
    """Several answers, their probabilities, or one particular answer are asked for."""
    if any(body.get(name) for name in ("logit_bias", "logprobs", "top_logprobs", "include", "prediction")):
        return True
    return body.get("n") not in (None, 1) or body.get("seed") is not None


def _hot(body: Mapping[str, Any]) -> bool:
    """A temperature above 0.3 asks for variety; none leaves it to the feature, which asked for this cache."""
    temperature = body.get("temperature")
    return temperature is not None and (not isinstance(temperature, int | float) or temperature > MAX_TEMPERATURE)


def _media(body: Mapping[str, Any]) -> bool:
    return body.get("modalities") not in (None, ["text"]) or body.get("audio") is not None


def _stateful(body: Mapping[str, Any]) -> bool:
    """The answer also depends on, or is kept in, something at the provider that the body only names."""
    return any(body.get(name) for name in ("previous_response_id", "conversation", "background", "prompt"))


_CALL_RULES: Final[tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...]] = (
    ("tools", _tools),
    ("structured", _structured),
    ("sampling", _sampled),
    ("temperature", _hot),
    ("media", _media),
    ("state", _stateful),
)


# --- earlier turns -------------------------------------------------------------------------------

_PLAIN_ROLES: Final = frozenset({"system", "developer", "user", "assistant"})


def _history(turn: Turn, body: Mapping[str, Any]) -> str:
    for said in turn.before:
        if said.get("role") not in _PLAIN_ROLES or said.get("tool_calls") or said.get("function_call"):
            return "tools"
        if said["role"] in ("system", "developer") and _is_personal(said.get("content")):
            return "personal"
    return "personal" if _is_personal(body.get("instructions")) else ""


def _is_personal(prompt: Any) -> bool:
    """A prompt that names its user or the time is of no use to another call."""
    return isinstance(prompt, str) and _PERSONAL_PROMPT.search(prompt) is not None


# --- words of the last turn ----------------------------------------------------------------------

_PII: Final = r"""
    [\w.+-]+@[\w-]+\.\w              # e-mail address
  | (?:\d[\ ().-]?){6}\d             # seven digits or more: telephone, card, account, order
  | \b\d{6,}\b
  | \b(?=[a-z]*\d)(?=(?:[a-z-]*\d){4})[a-z\d][a-z\d-]{6,}\b   # reference such as ab12-34cd
  | \bmy\ (?:name\ is|id\ is|number\ is|ssn|iban|passport|date\ of\ birth)\b
  | \b(?:i\ am|i'm|my\ (?:wife|husband|son|daughter|mother|father|boss))\ (?:called|named)\b
"""
_TEXT_RULES: Final = tuple(
    (reason, re.compile(pattern, re.VERBOSE))
    for reason, pattern in (
        ("personal", _PII),
        ("link", r"https?://|\bwww\."),
        (
            "code",
            r"""`|[{}<>]\s*[;/\n]|[{}]|</|=>|->|==|\w\(\)|;\s*$|\\\w|^\s*(?:def|class|import|select|sudo|\$|>>>)\s
            | ^(?:[+-]{3}|@@)\ | \n.*\n.*\n""",
        ),
        (
            "time",
            r"""\b(?:today|tonight|tomorrow|yesterday|now|nowadays|currently|current|latest|newest|recent|recently
            | upcoming|ongoing|so\ far|as\ of|at\ the\ moment|ago|news|weather|what\ (?:time|day|date)\ is|how\ old
            | this\ (?:morning|afternoon|evening|week|weekend|month|quarter|season|year)
            | (?:next|last|past|coming)\ (?:few\ )?(?:\d+\ )?(?:night|day|week|weekend|month|quarter|season|year
            | monday|tuesday|wednesday|thursday|friday|saturday|sunday)s?)\b""",
        ),
        (
            "creative",
            r"""\b(?:poem|poetry|haiku|limerick|lyrics|song|story|stories|tale|joke|jokes|riddle|slogan|tagline|essay
            | brainstorm|imagine|pretend|role-?play|invent|make\ up|random|randomly|surprise|creative|ideas?
            | another|others|different\ (?:one|version|example|answer)|again|regenerate|retry|rephrase|rewrite
            | paraphrase|proofread|summari[sz]e|write|draft|compose)\b""",
        ),
        (
            "reference",
            r"""\b(?:above|below|aforementioned|previous|previously|earlier|attached|attachment|following
            | the\ former|the\ latter|you\ (?:said|mentioned|wrote|told)|your\ (?:last|answer|reply|response))\b
            | :\s*$""",
        ),
    )
)
_PERSONAL_PROMPT: Final = re.compile(
    r"""[\w.+-]+@[\w-]+\.\w | \{\{ | \b\d{4}-\d\d-\d\d[T\ ]\d\d:\d\d
    | (?i:\b(?:the\ )?user'?s?\ (?:name|e-?mail|id|address|phone)\b | \bcurrent\ (?:date|time)\b
    | \btoday(?:'s\ date)?\ is\b)""",
    re.VERBOSE,
)
_OPENERS: Final = re.compile(
    r"""\s*(?:and|but|or|so|also|then|what\ about|how\ about|yes|yeah|yep|no|nope|ok|okay|sure|thanks|thank\ you
    | please\ do|go\ on|go\ ahead|continue|more|cancel|stop|undo|redo|same|instead|why\ not|which\ one)\b""",
    re.VERBOSE,
)
_SHORT_FOR_PRONOUN: Final = 7


def _is_foreign(lowered: str) -> bool:
    """More than a tenth of it are letters that English does not have."""
    foreign = 0 if lowered.isascii() else sum(letter.isalpha() and not letter.isascii() for letter in lowered)
    return foreign * 10 > len(lowered)


def _dependent(lowered: str, words: list[str], followup: bool) -> str:
    """The text says little without what was said before it."""
    if len(words) < MIN_WORDS:
        return "short"
    if _OPENERS.match(lowered):
        return "anaphora"
    alone = not followup and len(words) >= _SHORT_FOR_PRONOUN and words[0] not in PRONOUNS
    return "" if alone or PRONOUNS.isdisjoint(words) else "anaphora"
