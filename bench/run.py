"""Measure the gateway, or any OpenAI-compatible server, against the mock: `python -m bench.run --help`."""

import argparse
import http.client
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from bench.gateway_config import BENCH_MODEL, write_gateway_config
from bench.load import EXACT_HIT, PASS_THROUGH, STREAM, LoadResult, Scenario, Target, build_request, run_load
from bench.processes import choose_cores, cpu_seconds, pin, resident_mb, running
from bench.results import write_result

READY_S = 60.0  # how long a gateway may take to become ready
HEADS = (
    *("server", "scenario", "requests", "errors", "rps", "CPU-us", "p50-ms", "p99-ms", "first-ms", "RSS-MB"),
    *("load-busy", "cache"),
)
SCENARIOS = (PASS_THROUGH, EXACT_HIT, STREAM)


class BenchmarkFailed(Exception):
    """The benchmark could not measure; the message says what to look at."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load; `pid` is None when its cost cannot be read, `mock_pid` when there is no mock."""

    name: str
    target: Target
    pid: int | None
    mock_pid: int | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured row. CPU is of the server with its children, in microseconds per good answer."""

    server: str
    scenario: str
    requests: int
    errors: int
    rps: float
    cpu_us: float | None
    p50_ms: float
    p99_ms: float
    first_byte_ms: float
    rss_mb: float | None
    load_busy: float  # CPU of load generator and mock over wall time: near 1, they are the limit
    cache: str  # the x-farthing-cache header of one such request


def ask_once(target: Target, request: bytes) -> tuple[int, str, bytes]:
    """Send one request; return its status, its x-farthing-cache header and its body."""
    with socket.create_connection(target.address, timeout=10) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.getheader("x-farthing-cache", ""), answer.read()


def require_answer(server: Server, request: bytes) -> str:
    """Ask once and return the cache header; raise BenchmarkFailed with the answer unless it is a 200."""
    status, cache, body = ask_once(server.target, request)
    if status != 200:
        text = body[:500].decode(errors="replace")
        raise BenchmarkFailed(f"{server.name} answered {status} to the first request: {text}")
    return cache


def measure(server: Server, scenario: Scenario, *, seconds: float, connections: int, salt: str) -> Figure:
    """Warm up, then load one server with one scenario for `seconds` and read what that cost."""

    def salted(phase: str) -> str:
        return f"{salt}-{phase if scenario.unique else 'same'}"

    require_answer(server, build_request(server.target, scenario, salted("first"))(0))
    warm = max(0.2, min(2.0, seconds / 4))
    uvloop.run(run_load(server.target, scenario, salt=salted("warm"), connections=connections, seconds=warm))
    cache = require_answer(server, build_request(server.target, scenario, salted("probe"))(0))
    before, load_before = _cpu(server.pid), time.process_time() + (_cpu(server.mock_pid) or 0)
    loading = run_load(server.target, scenario, salt=salted("main"), connections=connections, seconds=seconds)
    result = uvloop.run(loading)
    load_cpu = time.process_time() + (_cpu(server.mock_pid) or 0) - load_before
    after = _cpu(server.pid)
    spent = None if before is None or after is None else after - before
    return _figure(server, result, spent, load_cpu, cache)


def _cpu(pid: int | None) -> float | None:
    return None if pid is None else cpu_seconds(pid)


def _figure(server: Server, result: LoadResult, spent: float | None, load_cpu: float, cache: str) -> Figure:
    return Figure(
        server=server.name,
        scenario=result.scenario,
        requests=result.requests,
        errors=result.errors,
        rps=round(result.rps, 1),
        cpu_us=None if spent is None else round(spent / max(1, result.requests) * 1e6, 1),
        p50_ms=round(result.p50_ms, 2),
        p99_ms=round(result.p99_ms, 2),
        first_byte_ms=round(result.first_byte_p50_ms, 2),
        rss_mb=None if server.pid is None else round(resident_mb(server.pid), 1),
        load_busy=round(load_cpu / result.seconds, 2),
        cache=cache,
    )


def render_table(figures: Sequence[Figure]) -> str:
    """A plain table, one row per figure."""
    rows = [list(HEADS)] + [["-" if v in (None, "") else str(v) for v in asdict(f).values()] for f in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


@contextmanager
def running_mock_server(core: int | None) -> Iterator[tuple[str, int]]:
    """Start the mock as a process; give its base URL and its process id."""
    command = [sys.executable, "-m", "bench.mock_upstream", "--port", "0"]
    with running(command, core, output=subprocess.PIPE) as process:
        line = process.stdout.readline().decode() if process.stdout else ""
        if not line.startswith("listening on "):
            raise BenchmarkFailed("The mock upstream did not start; its error stands above.")
        yield f"http://{line.split()[-1]}/v1", process.pid


@contextmanager
def running_gateway(upstream_base_url: str, core: int | None) -> Iterator[tuple[str, str, int]]:
    """Start a gateway with everything on; give its base URL, its API key and its process id once ready."""
    program = Path(sys.executable).parent / "farthing"
    if not program.exists():
        raise BenchmarkFailed(f"There is no {program}; install the project into this environment first.")
    with tempfile.TemporaryDirectory(prefix="farthing-bench-") as name:
        directory, port = Path(name), _free_port()
        api_key = write_gateway_config(directory, upstream_base_url, port)
        log = directory / "gateway.log"
        command = [str(program), "serve", "--config", str(directory)]
        with log.open("wb") as output, running(command, core, output=output) as process:
            _await_ready(process, port, log)
            yield f"http://127.0.0.1:{port}/v1", api_key, process.pid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    code = process.poll()
    what = f"was not ready within {READY_S:.0f} s" if code is None else f"ended with code {code}"
    end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise BenchmarkFailed(f"The gateway {what} (port {port}). The end of its output:\n{end}")


def measure_gateway(scenarios: Sequence[Scenario], seconds: float, connections: int) -> list[Figure]:
    """The mock alone, then a gateway in front of it, each scenario in turn."""
    load_core, gateway_core = choose_cores()
    pin(0, load_core)
    with running_mock_server(load_core) as (upstream, mock_pid):
        direct = Server("direct", Target(upstream), mock_pid)
        with running_gateway(upstream, gateway_core) as (base_url, api_key, pid):
            print(f"gateway: pid {pid}, {base_url}", flush=True)
            headers = (("authorization", f"Bearer {api_key}"),)
            gateway = Server("gateway", Target(base_url, BENCH_MODEL, headers), pid, mock_pid)
            rows = [(direct, scenario) for scenario in scenarios if scenario.unique]  # it has no cache to hit
            rows += [(gateway, scenario) for scenario in scenarios]
            return [_measured(server, scenario, seconds, connections) for server, scenario in rows]


def measure_target(server: Server, scenarios: Sequence[Scenario], seconds: float, connections: int) -> list[Figure]:
    """A server that already runs somewhere, each scenario in turn."""
    return [_measured(server, scenario, seconds, connections) for scenario in scenarios]


def _measured(server: Server, scenario: Scenario, seconds: float, connections: int) -> Figure:
    salt = secrets.token_hex(4)  # a target may remember the prompts of an earlier run
    return measure(server, scenario, seconds=seconds, connections=connections, salt=salt)


def write_json(path: Path, options: argparse.Namespace, figures: Sequence[Figure]) -> None:
    command = f"python -m bench.run --seconds {options.seconds:g} --connections {options.connections}"
    write_result(
        path,
        name="target" if options.target else "gateway",
        command=command + (" --target URL" if options.target else ""),
        figures=[asdict(figure) for figure in figures],
    )


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="measured time of each scenario")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--scenario", action="append", choices=[s.name for s in SCENARIOS])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--target", metavar="URL", help="measure this server instead, e.g. http://127.0.0.1:4141/v1")
    parser.add_argument("--pid", type=int, help="process of --target whose CPU and memory are read")
    parser.add_argument("--api-key", default="none", help="key for --target")
    parser.add_argument("--model", default=BENCH_MODEL, help="model asked of --target")
    options = parser.parse_args(arguments)
    if options.target and not options.target.startswith("http://"):
        parser.error(f"--target {options.target}: the load generator speaks plain http:// only")
    return options


def main() -> int:
    options = parse_options(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the children are stopped
    scenarios = [s for s in SCENARIOS if not options.scenario or s.name in options.scenario]
    try:
        if options.target:
            headers = (("authorization", f"Bearer {options.api_key}"),)
            server = Server("target", Target(options.target, options.model, headers), options.pid)
            figures = measure_target(server, scenarios, options.seconds, options.connections)
        else:
            figures = measure_gateway(scenarios, options.seconds, options.connections)
    except (BenchmarkFailed, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(render_table(figures))
    if options.json:
        write_json(options.json, options, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
