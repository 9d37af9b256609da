"""`farthing eval run` against a gateway that answers over HTTP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evals.scorecards import ScorecardStore
from tests.unit.test_cli_commands import CONFIG, run

SUITE = """
task: faq
bar: 0.5
reference: large
candidates: [small]
max_tokens: 8
temperature: 0
prompts: ["{{q}}"]
defaultTest:
  assert:
    - {type: contains, value: "{{want}}"}
tests:
""" + "".join(f'  - vars: {{q: "{number}", want: "{"no" if number % 3 == 0 else "yes"}"}}\n' for number in range(24))


class Answers(BaseHTTPRequestHandler):
    """Says yes to every question, at a price."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.send_header("x-farthing-tier", asked["model"].removeprefix("tier/"))
        self.send_header("x-farthing-cost-usd", "0.000001000")
        self.send_header("x-farthing-cache", "bypass")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def gateway() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
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


def test_a_run_shows_every_tier_and_keeps_the_verdicts(gateway: str, place: Path) -> None:
    output = run("eval", "run", "mine", "--base-url", gateway, "--api-key-env", "MY_KEY")

    rows = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    assert rows["small"][1] == "candidate"
    assert "0.67" in rows["small"] and "24/24" in rows["small"] and "0.000024000" in rows["small"]
    assert "The run cost 0.000048000 USD" in output
    with ScorecardStore(place / "state" / "evals.db") as store:
        cards = {card.tier: card for card in store.latest("faq")}
    assert (cards["small"].items, cards["small"].models) == (24, ("local/smol",))


def test_a_run_that_reaches_nobody_ends_with_1(place: Path) -> None:
    output = run("eval", "run", "mine", "--base-url", "http://127.0.0.1:9/v1", "--api-key-env", "MY_KEY", code=1)

    assert "undecided" in output
