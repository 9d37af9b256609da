"""`farthing eval run` against a gateway that answers over HTTP."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evals.gate import Gate, Rule
from evals.report import Role, TierResult
from evals.scorecards import ScorecardStore
from farthing.routing import Verdict
from gateway import cli
from gateway.commands.evals import beside
from tests.unit.test_cli_commands import CONFIG, RUNNER, run

SUITE = """
task: faq
bar: 0.8
reference: large
candidates: [small]
max_tokens: 8
temperature: 0
prompts: ["{{q}}"]
defaultTest:
  assert:
    - {type: contains, value: "{{want}}"}
tests:
""" + "".join(f'  - vars: {{q: "question {number}", want: "to question {number}"}}\n' for number in range(40))

CONTAINS = """{type: contains, value: "{{want}}"}"""
GOLD = [{"prompt": f"p{n}", "output": f"o{n}", "pass": n % 2 == 0} for n in range(50)]
JUDGE = f"judge: {{model: tier/judge, rubric: It answers., gold: {json.dumps(GOLD)}}}\n"
JUDGING = (
    CONFIG.replace(
        "default_tier", "  - {name: judge, deployments: [{provider: local, model: claude-sonnet-5}]}\ndefault_tier"
    ).replace(
        "prices:\n", "prices:\n  - {provider: local, model: claude-sonnet-5, input_per_mtok: 3, output_per_mtok: 15}\n"
    )
    + "data_dir: state\nevals: {feature: search, suites: suites}\n"
)


class Answers(BaseHTTPRequestHandler):
    """Answers every question, at a price."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        tier, question = asked["model"].removeprefix("tier/"), asked["messages"][-1]["content"]
        self.server.questions.append((tier, question))
        if self.server.hangs_after is not None and len(self.server.questions) > self.server.hangs_after:
            self.server.goes_on.wait(30)
            return
        text = "no idea" if tier in self.server.ignorant else f"yes to {question}"
        body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.send_header("x-farthing-tier", tier)
        self.send_header("x-farthing-cost-usd", "0.000001000")
        self.send_header("x-farthing-cache", "bypass")
        self.end_headers()
        self.wfile.write(data)
        self.server.asked.append(tier)

    server: "Serving"

    def log_message(self, format: str, *args: object) -> None:
        del format, args


class Serving(ThreadingHTTPServer):
    """Remembers which tiers were asked; those that are `ignorant` know nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []
        self.questions: list[tuple[str, str]] = []
        self.ignorant: set[str] = set()
        self.hangs_after: int | None = None
        self.goes_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def gateway() -> Iterator[Serving]:
    with Serving() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.goes_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_KEY", "fk-x")
    (tmp_path / "config").mkdir()
    text = CONFIG + "data_dir: state\nevals: {feature: search, suites: suites}\n"
    (tmp_path / "config" / "all.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.yaml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def eval_run(gateway: Serving, *more: str, code: int = 0) -> str:
    return run("eval", "run", "mine", "--base-url", gateway.url, "--api-key-env", "MY_KEY", *more, code=code)


def rows_of(output: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}


def test_a_run_shows_every_tier_and_keeps_the_verdicts(gateway: Serving, place: Path) -> None:
    output = eval_run(gateway)

    rows = rows_of(output)
    assert "Score: accuracy, by contains." in output
    assert rows["small"][1:4] == ["candidate", "pass", "1.00"]
    assert rows["large"][1:3] == ["reference", "pass"]
    assert "items fixed before would say: " in output
    assert f"The run cost {len(gateway.asked) / 1_000_000:.9f} USD" in output
    with ScorecardStore(place / "state" / "evals.db") as store:
        cards = {card.tier: card for card in store.latest("faq")}
    assert cards["small"].models == ("local/smol",)
    assert cards["small"].e_value >= cards["small"].e_needed == 20
    assert 20 <= cards["small"].items <= 40


def test_a_reference_that_fails_itself_is_told_with_the_suites_file_and_line(gateway: Serving, place: Path) -> None:
    gateway.ignorant.add("large")

    output = RUNNER.invoke(
        cli.app, ["eval", "run", "mine", "--base-url", gateway.url, "--api-key-env", "MY_KEY"]
    ).output

    assert "suites/mine.yaml:4: reference: the reference tier large is refused: invalid: one output" in output
    assert "undecided: the reference tier large is refused" in output


def test_below_a_candidate_stands_what_the_tests_that_everybody_knows_would_say() -> None:
    gate = Gate(Rule(items=40, margin=0.2))
    for number in range(24):
        gate.see(float(number >= 2), float(number != 5))
    tier = TierResult(
        tier="small",
        role=Role.CANDIDATE,
        models=("local/smol",),
        verdict=Verdict.UNDECIDED,
        reason="",
        evidence=gate.evidence(),
        planned=40,
        outcomes=(),
        valid_until_ns=None,
    )

    assert beside(tier, "large") == (
        "a test of 24 items fixed before would say: 0.74 to 0.98 (Wilson); better than large on 1, worse on 2 "
        "(McNemar's exact p 1)"
    )


def test_a_second_run_asks_nobody_and_a_failed_test_says_what_would_change_it(gateway: Serving, place: Path) -> None:
    gateway.ignorant.add("small")
    first = eval_run(gateway)
    asked = len(gateway.asked)
    gateway.ignorant.clear()

    second = eval_run(gateway)

    assert "small: failed: e-value" in first and "already" not in first
    assert "This test has already failed: change the suite or the model" in second
    assert "The run cost 0.000000000 USD" in second
    assert len(gateway.asked) == asked


def test_a_run_that_reaches_nobody_ends_with_1(place: Path) -> None:
    output = run("eval", "run", "mine", "--base-url", "http://127.0.0.1:9/v1", "--api-key-env", "MY_KEY", code=1)

    assert "undecided" in output


def test_what_a_run_may_cost_is_told_before_and_must_fit_the_cap(gateway: Serving, place: Path) -> None:
    refused = eval_run(gateway, "--cap", "0.0000001", code=2)

    assert "Suite 'mine' may cost up to" in refused
    assert "Nothing was asked" in refused
    assert gateway.asked == []


def test_the_judges_exam_is_a_line_of_its_own_and_has_to_fit_the_cap(gateway: Serving, place: Path) -> None:
    (place / "config" / "all.yaml").write_text(JUDGING, encoding="utf-8")
    (place / "suites" / "mine.yaml").write_text(SUITE.replace(CONTAINS, "{type: llm-rubric}") + JUDGE, encoding="utf-8")

    refused = eval_run(gateway, "--cap", "0.03", code=2)

    exam = re.search(
        r"The judge's exam is a part of that \(60 questions, ([\d.]+) USD, ([\d.]+) USD at most\)", refused
    )
    assert exam is not None and float(exam[2]) == 2 * float(exam[1]) > 0.03
    assert f"({exam[2]} of them for its judge's exam), and 0.030000000 USD are allowed" in refused
    assert gateway.asked == []


def test_an_amount_that_is_none_is_refused(gateway: Serving, place: Path) -> None:
    for text in ("much", "-1", "nan"):
        assert "is no amount in USD" in eval_run(gateway, "--cap", text, code=2)


def test_a_smoke_test_fails_where_a_tier_got_worse_says_what_it_cost_and_keeps_no_verdict(
    gateway: Serving, place: Path
) -> None:
    command = ("eval", "smoke", "mine", "--base-url", gateway.url, "--api-key-env", "MY_KEY")
    good = run(*command)
    asked = len(gateway.asked)
    free = run(*command)
    gateway.ignorant.add("small")
    (place / "suites" / "mine.yaml").write_text(SUITE.replace("max_tokens: 8", "max_tokens: 9"), encoding="utf-8")

    bad = run(*command, code=1)

    assert "Nothing speaks against a tier." in good
    assert f"cost {asked / 1_000_000:.9f} USD. It promotes nobody." in good
    assert "cost 0.000000000 USD" in free
    assert "small: failed: e-value" in bad
    with ScorecardStore(place / "state" / "evals.db") as store:
        assert store.latest() == ()


def test_a_smoke_test_that_cannot_ask_ends_with_3(place: Path) -> None:
    command = ("eval", "smoke", "mine", "--base-url", "http://127.0.0.1:9/v1", "--api-key-env", "MY_KEY")

    assert "run again" in run(*command, code=3)


def test_what_is_due_is_shown_and_run_and_then_nothing_is(gateway: Serving, place: Path) -> None:
    before = run("eval", "due", code=1)
    described = json.loads(run("eval", "due", "--json", code=1))
    run_them = ("eval", "due", "--run", "--cap", "5", "--base-url", gateway.url, "--api-key-env", "MY_KEY")
    with ScorecardStore(place / "state" / "evals.db") as store:
        store.enqueue("faq", "small", reason="drift", asked_ns=1)

    after = run(*run_them)

    assert "never evaluated" in before
    assert [(one["task"], one["tier"], one["why"], one["suite"]) for one in described] == [
        ("faq", "small", "never evaluated", "mine")
    ]
    assert "small: promoted" in after and "Nothing is due." in after
    with ScorecardStore(place / "state" / "evals.db") as store:
        assert store.queue() == ()


def test_scorecards_are_listed_and_shown_with_all_they_hold(gateway: Serving, place: Path) -> None:
    eval_run(gateway)

    listed = rows_of(run("eval", "list"))
    shown = run("eval", "show", "faq", "small")
    members = json.loads(run("eval", "show", "faq", "small", "--json"))

    assert "faq" in listed
    assert "verdict: pass" in shown and "models: local/smol" in shown and "promoted: e-value" in shown
    assert members["rule"].startswith("betting/")
    assert "There is no scorecard of tier 'huge'" in run("eval", "show", "faq", "huge", code=2)


def test_scorecards_as_files_are_what_is_listed(gateway: Serving, place: Path) -> None:
    config = place / "config" / "all.yaml"
    config.write_text(config.read_text().replace("suites: suites}", "suites: suites, scorecards: files}"))

    eval_run(gateway)
    files = sorted(path.name for path in (place / "config" / "scorecards").iterdir())
    (place / "state" / "evals.db").unlink()
    listed = json.loads(run("eval", "list", "--task", "faq", "--json"))

    assert files == ["faq--large.yaml", "faq--small.yaml"]
    assert {card["tier"]: card["verdict"] for card in listed}["small"] == "pass"
