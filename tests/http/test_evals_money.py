"""Evals spend like any client: on the feature of their own, up to its cap, and on nobody else's."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from farthing.record import Outcome
from gateway import cli
from tests.gateway import hash_of, running_gateway

KEY = "fk-test-key-of-the-evals"
SUITE = """
task: triage
bar: 0.5
reference: large
candidates: [small]
max_tokens: 40
temperature: 0
prompts: ["{{q}}"]
defaultTest: {assert: [{type: contains, value: echo}]}
tests:
""" + "".join(f'  - vars: {{q: "question {number}"}}\n' for number in range(30))
SCHEDULED = """
evals:
  feature: evals
  suites: {suites}
  base_url: {base_url}
  api_key_env: KEY_OF_THE_EVALS
  schedule: {{every: 24h, budget_usd: "1"}}
"""
CHANGES = (
    ("features:\n", "features:\n  evals: {team: quality}\n"),
    ("budgets:\n", 'budgets:\n  - {id: of-evals, limit_usd: "0.0004", window: day, where: {feature: evals}}\n'),
    ("keys:\n", f'keys:\n  - {{id: evals, hash: "{hash_of(KEY)}", tenant: acme, feature: evals}}\n'),
)


async def test_an_eval_run_is_booked_to_its_own_feature_and_ends_at_its_cap(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    async with running_gateway(tmp_path, extra="evals: {feature: evals}\n", changes=CHANGES) as gateway:
        command = ["eval", "run", str(suite), "--base-url", gateway.base_url, "--config", str(gateway.config)]

        ran = await asyncio.to_thread(CliRunner().invoke, cli.app, command, env={"FARTHING_API_KEY": KEY})

        assert "the gateway answered 402 budget_exceeded: Budget 'of-evals'" in ran.output
        records = gateway.records()
        assert {record.tags.feature for record in records} == {"evals"}
        assert {record.outcome for record in records} == {Outcome.SUCCESS, Outcome.REFUSED}
        assert {record.refused_by for record in records} == {"", "of-evals|feature=evals"}
        assert 0 < sum(record.cost for record in records) <= 400_000
        assert gateway.holds() == 0


async def test_the_gateway_runs_what_is_due_by_itself_and_then_routes_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_EVALS", KEY)
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "triage.yaml").write_text(SUITE.replace("bar: 0.5", "bar: 0.8"), encoding="utf-8")
    changes = (CHANGES[0], CHANGES[2], ('limit_usd: "0.0005", window: run', 'limit_usd: "1", window: run'))
    async with running_gateway(tmp_path, changes=changes) as gateway:
        house = gateway.application.house
        routed = {"x-farthing-feature": "routed"}
        before = (await gateway.chat("one", headers=routed)).headers["x-farthing-tier"]
        file = gateway.config / "farthing.yaml"
        file.write_text(file.read_text() + SCHEDULED.format(suites=suites, base_url=gateway.base_url))

        for _ in range(3):  # a change of the configuration is taken when two looks in a row see the same
            await house.tick()
        await house.due_runs.wait()
        await house.tick()
        after = (await gateway.chat("two", headers=routed)).headers["x-farthing-tier"]

        asked = [record for record in gateway.records() if record.tags.feature == "evals"]
        assert (before, after) == ("large", "small")
        assert all(record.tags.run.startswith("eval-due-") for record in asked)
        assert 20 <= len(asked) <= 60
        assert house.due_runs.problems() == []
