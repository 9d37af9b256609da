"""Evals spend like any client: on the feature of their own, up to its cap, and on nobody else's."""

import asyncio
from pathlib import Path

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
