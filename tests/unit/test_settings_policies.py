"""Policies with parameters: what the YAML says becomes one rule for each feature that names it."""

from math import inf
from pathlib import Path

from farthing.catalog import AnswerCheck, Feature, Measure, PolicyRule
from gateway.settings import load
from tests.unit.test_settings_findings import BASE

WATCHED = BASE.replace("candidates: [small]", "candidates: [small], live: {enabled: true}").replace(
    "{support: {}}", "{support: {}, farthing-shadow: {}}"
)
DECLARED = """
budgets: [{id: b, limit_usd: 1, window: day, where: {feature: farthing-shadow}}]
policies:
  quick: {kind: latency_bound, p95: 500ms, of: first_byte, then: thrifty}
  thrifty: {kind: budget_aware, full_at: 30%}
  careful: {kind: canary, items: 80, then: quick}
"""


def feature(tmp_path: Path, policy: str) -> Feature:
    (tmp_path / "farthing.yaml").write_text(WATCHED.replace("{support: {}", f"{{support: {policy}") + DECLARED)
    return load(tmp_path, {}).catalog.features["support"]


def test_a_policy_is_put_together_from_all_that_it_asks(tmp_path: Path) -> None:
    found = feature(tmp_path, "{policy: careful}")

    thrifty = PolicyRule(kind="budget_aware", full_at=0.3)
    quick = PolicyRule(kind="latency_bound", p95_s=0.5, measure=Measure.FIRST_BYTE, then=thrifty)
    assert (found.policy, found.rule) == ("careful", PolicyRule(kind="canary", items=80, then=quick))


def test_a_kind_without_parameters_needs_no_declaration(tmp_path: Path) -> None:
    assert feature(tmp_path, "{policy: budget_aware}").rule == PolicyRule(kind="budget_aware", p95_s=inf, full_at=0.2)
    assert feature(tmp_path, "{}").rule == PolicyRule(kind="cheapest_passing")
    assert feature(tmp_path, "{policy: fixed, tier: small}").rule == PolicyRule(kind="fixed")


def test_a_cascade_names_who_answers_first_and_a_task_what_its_answers_look_like(tmp_path: Path) -> None:
    text = BASE.replace("candidates: [small]", "candidates: [small], check: {form: json, regex: '^{', min_chars: 2}")
    text = text.replace("{support: {}}", "{support: {task: sums, policy: first}}")
    (tmp_path / "farthing.yaml").write_text(text + "policies: {first: {kind: cascade, tier: small}}\n")

    catalog = load(tmp_path, {}).catalog

    assert catalog.features["support"].rule == PolicyRule(kind="cascade", tier="small")
    assert catalog.tasks["sums"].check == AnswerCheck(json=True, regex="^{", min_chars=2)


def test_what_a_policy_is_made_of_is_part_of_the_routing(tmp_path: Path) -> None:
    feature(tmp_path, "{policy: careful}")
    before = load(tmp_path, {}).catalog.fingerprint
    file = tmp_path / "farthing.yaml"
    file.write_text(file.read_text().replace("items: 80", "items: 90"))

    assert load(tmp_path, {}).catalog.fingerprint != before
