"""The benchmark starts, measures, prints and stops what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.gateway_config import write_gateway_config
from bench.load import PASS_THROUGH, Target
from bench.processes import cpu_seconds, process_tree, resident_mb, running
from bench.run import (
    BenchmarkFailed,
    Figure,
    Server,
    measure,
    parse_options,
    render_table,
    running_mock_server,
    write_json,
)

FIGURE = Figure("gateway", "stream", 10, 1, 99.5, 120.0, 1.5, 2.5, 0.5, None, 0.4, "")


def test_a_started_mock_is_measured_and_stopped() -> None:
    with running_mock_server(None) as (base_url, pid):
        server = Server("direct", Target(base_url), pid)
        figure = measure(server, PASS_THROUGH, seconds=0.2, connections=4, salt="test")

    assert figure.requests > 0
    assert figure.errors == 0
    assert figure.cpu_us is not None
    assert figure.rss_mb is not None and figure.rss_mb > 5
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_refuses_ends_the_benchmark_with_its_words() -> None:
    with running_mock_server(None) as (base_url, pid):
        server = Server("direct", Target(base_url, "mock-401"), pid)

        with pytest.raises(BenchmarkFailed, match=r"direct answered 401 .*asked to fail"):
            measure(server, PASS_THROUGH, seconds=0.1, connections=1, salt="test")


def test_the_cost_of_children_counts() -> None:
    spin = "sum(range(3_000_000)); print('spun', flush=True); import time; time.sleep(60)"
    nest = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}])"

    with running([sys.executable, "-c", nest], None, output=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"spun\n"
        tree, cpu, resident = process_tree(process.pid), cpu_seconds(process.pid), resident_mb(process.pid)
        [child] = tree[1:]
        assert cpu >= cpu_seconds(child) > 0
        assert resident > resident_mb(child) > 0
        os.kill(child, 9)


def test_a_process_that_is_gone_costs_nothing() -> None:
    with running([sys.executable, "-c", "pass"], None, output=subprocess.PIPE) as process:
        process.wait(10)

    assert cpu_seconds(process.pid) == 0
    assert resident_mb(process.pid) == 0


def test_the_table_shows_every_figure_and_a_dash_for_what_is_unknown() -> None:
    head, row = render_table([FIGURE]).splitlines()

    assert head.split()[:5] == ["server", "scenario", "requests", "errors", "rps"]
    assert row.split() == [
        "gateway",
        "stream",
        "10",
        "1",
        "99.5",
        "120.0",
        "1.5",
        "2.5",
        "0.5",
        "-",
        "0.4",
        "-",
    ]


def test_the_json_names_the_machine_and_the_command(tmp_path: Path) -> None:
    options = parse_options(["--seconds", "3", "--connections", "8"])

    write_json(tmp_path / "out.json", options, [FIGURE])

    written = json.loads((tmp_path / "out.json").read_text())
    assert set(written) == {"name", "date", "machine", "command", "figures"}
    assert written["command"] == "python -m bench.run --seconds 3 --connections 8"
    assert written["figures"][0]["rps"] == 99.5


def test_a_target_over_tls_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--target", "https://example.com/v1"])

    assert "plain http:// only" in capsys.readouterr().err


def test_the_gateway_configuration_is_yaml_that_names_the_upstream(tmp_path: Path) -> None:
    api_key = write_gateway_config(tmp_path, "http://127.0.0.1:9/v1", 4141)

    texts = [path.read_text() for path in tmp_path.glob("*.yaml")]
    assert all(yaml.safe_load(text) for text in texts)
    assert any("http://127.0.0.1:9/v1" in text for text in texts)
    assert not any(api_key in text for text in texts)  # a key is stored as its hash
