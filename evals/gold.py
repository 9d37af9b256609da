"""Gold: the judge of a suite, read with the verdicts of people against which it is held."""

from collections.abc import Mapping
from typing import Final

from evals.located import Findings, Located, read_jsonl
from evals.prompts import resolve_inside
from evals.scalars import read_count, read_mapping, read_name
from evals.suite import Gold, Judge

JUDGE_KEYS: Final = frozenset({"model", "rubric", "gold", "max_chars"})
GOLD_KEYS: Final = frozenset({"prompt", "output", "rubric", "pass", "better", "worse"})
MAX_CHARS: Final = 8_000
MAX_CHARS_MOST: Final = 100_000


def read_judge(at: Located, findings: Findings) -> Judge | None:
    """The judge under `judge:`; None where it has no model."""
    keys = read_mapping(at, JUDGE_KEYS, findings)
    if "model" not in keys:
        findings.add(at, "`model` is missing: the judge as a client names it, such as tier/large")
        return None
    return Judge(
        model=read_name(keys["model"], "a judge", findings),
        rubric=_text(keys, "rubric", at, findings) if "rubric" in keys else "",
        gold=_gold(keys["gold"], findings) if "gold" in keys else (),
        max_chars=read_count(keys["max_chars"], findings, most=MAX_CHARS_MOST) if "max_chars" in keys else MAX_CHARS,
    )


def _gold(at: Located, findings: Findings) -> tuple[Gold, ...]:
    """The rows of a JSON Lines file beside the suite, or a list here: {prompt, output, pass} or {prompt, better,
    worse}."""
    rows = read_jsonl(resolve_inside(at)) if isinstance(at.value, str) else at.value
    if not isinstance(rows, list):
        findings.add(at, "`gold` is file://gold.jsonl, or a list of {prompt, output, pass}")
        return ()
    read: dict[Gold, Located] = {}
    for row in rows:
        gold = _row(row, findings)
        if gold is not None and read.setdefault(gold, row) is not row:
            findings.add(row, "the row repeats an earlier one: remove it")
    return tuple(read)


def _row(at: Located, findings: Findings) -> Gold | None:
    keys = read_mapping(at, GOLD_KEYS, findings)
    is_pair = "better" in keys or "worse" in keys
    wanted = ("prompt", "better", "worse") if is_pair else ("prompt", "output", "pass")
    surplus = sorted(keys.keys() & ({"output", "pass"} if is_pair else set()))
    if surplus or any(name not in keys for name in wanted):
        findings.add(at, "a row of gold is {prompt, output, pass}, or {prompt, better, worse} for a pair")
        return None
    rubric = _text(keys, "rubric", at, findings) if "rubric" in keys else ""
    prompt = _text(keys, "prompt", at, findings)
    if is_pair:
        output, other = (_text(keys, name, at, findings) for name in ("better", "worse"))
        return Gold(prompt=prompt, output=output, other=other, rubric=rubric)
    if not isinstance(keys["pass"].value, bool):
        findings.add(keys["pass"], "true or false is wanted here: whether people let the output pass")
    return Gold(
        prompt=prompt, output=_text(keys, "output", at, findings), passes=keys["pass"].value is True, rubric=rubric
    )


def _text(keys: Mapping[str, Located], name: str, at: Located, findings: Findings) -> str:
    child = keys.get(name, at)
    if not isinstance(child.value, str) or not child.value.strip():
        findings.add(child, "a text that is not empty is wanted here")
        return ""
    return child.value
