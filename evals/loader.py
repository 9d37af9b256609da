"""Loader: promptfoo-style YAML, JSON or JSON Lines to a Suite; whatever is unknown is an error with its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evals.gate import ALPHA
from evals.gold import read_judge
from evals.items import MODE_KEYS, read_items
from evals.located import Findings, Located, fail, read_jsonl, read_yaml
from evals.needs import grader_faults
from evals.scalars import read_count, read_decimal, read_mapping, read_name, read_seconds, read_share
from evals.soundness import constant_fault, size_fault
from evals.suite import Limits, Suite
from farthing.errors import ConfigError

SUITE_KEYS: Final = MODE_KEYS | {
    "$schema",
    "description",
    "task",
    "task_type",
    "bar",
    "margin",
    "reference",
    "candidates",
    "prompts",
    "tests",
    "defaultTest",
    "limits",
    "max_tokens",
    "temperature",
    "repeat",
    "judge",
    "embedder",
}
BAR_KEYS: Final = frozenset({"min_score", "margin_vs_reference", "alpha"})
LIMIT_KEYS: Final = frozenset({"max_samples", "budget_usd", "max_age"})
ALPHA_MOST: Final = 0.5
PROMPTFOO_ONLY: Final = {
    "providers": "tiers are evaluated here: name them under `reference` and `candidates`",
    "targets": "tiers are evaluated here: name them under `reference` and `candidates`",
    "scenarios": "write the combinations out under `tests`",
    "evaluateOptions": "write `max_samples` and `budget_usd` under `limits`",
}
SUITES: Final = Path(__file__).parent / "suites"
"""The suites that ship with the package."""


def find_suite(name: str) -> Path:
    """The suite's file: `name` is a path, or the name of a packaged suite. Raises ConfigError."""
    path = Path(name)
    if path.is_file():
        return path
    packaged = {file.stem: file for file in sorted(SUITES.iterdir()) if file.suffix in {".yaml", ".jsonl"}}
    if name in packaged:
        return packaged[name]
    raise ConfigError(f"There is no eval suite '{name}': give a file, or one of {', '.join(packaged)}.")


def load_suite(path: Path, *, may_promote: bool = True, allow_code: bool = False) -> Suite:
    """The suite in that file (.yaml, .yml, .json, or .jsonl whose first line is the suite without its tests).

    One that is too small to promote anybody is refused, unless nobody is to be promoted by it (`may_promote`), and one
    that runs the code of answers unless that is allowed.
    Raises ConfigError with every finding: file, line, field, what to do.
    """
    findings = Findings()
    head, rows = _read(path)
    if not isinstance(head.value, Mapping):
        fail(head, "a suite is a mapping with task, bar, reference, candidates, prompts and tests")
    suite = _suite(head, rows, findings, path.stem)
    if not findings.found:
        for place, fault in grader_faults(suite, may_promote=may_promote, allow_code=allow_code):
            findings.add_at(place, fault)
        _check_soundness(head, suite, findings, may_promote=may_promote)
    findings.raise_if_any()
    return suite


def _read(path: Path) -> tuple[Located, list[Located] | None]:
    """The suite's head, and its tests where they follow it in the same file."""
    if path.suffix == ".jsonl":
        lines = read_jsonl(path)
        if not lines:
            fail(Located(None, path, 1), "is empty: the first line is the suite, each further line a test")
        return lines[0], lines[1:]
    if path.suffix not in {".yaml", ".yml", ".json"}:
        fail(Located(None, path, 1), "a suite is a .yaml, .json or .jsonl file")
    return read_yaml(path), None


def _suite(head: Located, rows: list[Located] | None, findings: Findings, name: str) -> Suite:
    """The suite; where something was found, with stand-ins that nobody gets to see."""
    keys: Mapping[str, Located] = head.value
    _check_keys(keys, findings)
    reference, candidates = _tiers(head, findings)
    mark = _mark(head, findings)
    return Suite(
        name=name,
        task=_task(head, findings),
        bar=mark.bar,
        margin=mark.margin,
        alpha=mark.alpha,
        reference=reference,
        candidates=candidates,
        items=read_items(head, rows, findings),
        description=str(keys["description"].plain()) if "description" in keys else "",
        limits=_limits(keys["limits"], findings) if "limits" in keys else Limits(),
        judge=read_judge(keys["judge"], findings) if "judge" in keys else None,
        embedder=read_name(keys["embedder"], "an embedder", findings) if "embedder" in keys else "",
        places={"task" if key == "task_type" else key: at.place for key, at in keys.items()},
    )


def _check_soundness(head: Located, suite: Suite, findings: Findings, *, may_promote: bool) -> None:
    mark = head.value.get("bar") or head.value.get("margin", head)
    for fault in (constant_fault(suite), size_fault(suite) if may_promote else ""):
        if fault:
            findings.add(mark, fault)


# --- the head ------------------------------------------------------------------------------------


def _check_keys(keys: Mapping[str, Located], findings: Findings) -> None:
    for name, at in keys.items():
        if name in PROMPTFOO_ONLY:
            findings.add(at, f"`{name}` is not used here; {PROMPTFOO_ONLY[name]}")
        elif name not in SUITE_KEYS:
            findings.unknown(at, name, SUITE_KEYS, "key")


def _task(head: Located, findings: Findings) -> str:
    keys = head.value
    if "task" in keys and "task_type" in keys:
        findings.add(keys["task_type"], "give `task` or `task_type`, not both")
    at = keys.get("task") or keys.get("task_type")
    if at is None:
        findings.add(head, "`task` is missing: name the task of config/routing.yaml")
        return ""
    return read_name(at, "a task", findings)


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a candidate has to show: a mean score above `bar` (0: none), a loss below `margin` (None: none)."""

    bar: float
    margin: float | None
    alpha: float


def _mark(head: Located, findings: Findings) -> _Mark:
    keys = head.value
    given = keys.get("bar")
    parts = {"min_score": given} if given is not None else {}
    if given is not None and isinstance(given.value, Mapping):
        parts = dict(read_mapping(given, BAR_KEYS, findings))
    if "margin" in keys and "margin_vs_reference" in parts:
        findings.add(keys["margin"], "give `margin` or `margin_vs_reference`, not both")
    floor, margin = parts.get("min_score"), keys.get("margin") or parts.get("margin_vs_reference")
    if floor is None and margin is None:
        findings.add(given or head, "`bar` is missing: a share such as 0.85, or a `margin` against the reference")
    return _Mark(
        bar=0.0 if floor is None else _between(floor, findings),
        margin=None if margin is None else _between(margin, findings),
        alpha=read_share(parts["alpha"], findings, above_zero=True, most=ALPHA_MOST) if "alpha" in parts else ALPHA,
    )


def _between(at: Located, findings: Findings) -> float:
    """A share that can be shown: no number of items shows that nothing ever goes wrong."""
    value = read_share(at, findings, above_zero=True)
    if at.value == 1:
        findings.add(at, "a number below 1 is wanted here: no number of items can show more")
    return value


def _tiers(head: Located, findings: Findings) -> tuple[str, tuple[str, ...]]:
    keys = head.value
    candidates = keys.get("candidates", head)
    if not isinstance(candidates.value, list) or not candidates.value:
        findings.add(candidates, "`candidates` is a list of at least one tier, cheapest first")
        return "", ()
    if "reference" not in keys:
        findings.add(head, "`reference` is missing: name the tier that is trusted")
        return "", ()
    reference = read_name(keys["reference"], "a tier", findings)
    names = tuple(read_name(at, "a tier", findings) for at in candidates.value)
    if len({reference, *names}) <= len(names):
        findings.add(candidates, "a tier is named twice among `reference` and `candidates`")
    return reference, names


def _limits(at: Located, findings: Findings) -> Limits:
    given = read_mapping(at, LIMIT_KEYS, findings)
    return Limits(
        max_samples=read_count(given["max_samples"], findings) if "max_samples" in given else None,
        budget_usd=read_decimal(given["budget_usd"], findings) if "budget_usd" in given else None,
        max_age_s=read_seconds(given["max_age"], findings) if "max_age" in given else None,
    )
