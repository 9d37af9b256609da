"""Quickstart: a real small model, real embeddings and the gateway in front of them, all on this machine."""

import fcntl
import hashlib
import json
import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from demo.processes import ServerFailed, ServerProcess
from farthing.errors import ConfigError
from gateway.files import made_once
from gateway.server import serve
from gateway.settings.demo import write_tree
from gateway.settings.providers import FoundProvider, provider_from_environment

DATA_DIR: Final = Path(".farthing")
LOCK: Final = "quickstart.lock"
KEY_PREFIX: Final = "fk-"
MODEL: Final = "demo.model_server"
EMBEDDINGS: Final = "demo.embeddings_server"


def run(*, port: int | None = None, data_dir: Path = DATA_DIR, env: Mapping[str, str] | None = None) -> None:
    """Start everything, print where it is, serve until Ctrl-C, end everything that was started.

    Raises ConfigError where a part cannot start; the message says which and why.
    """
    env = os.environ if env is None else env
    with ExitStack() as stack:
        key = _take(data_dir, stack)
        model, embeddings = _start_servers(stack)
        directory = data_dir / "config"
        joined = write_tree(directory, env, model.base_url, embeddings.base_url, f"sha256:{_sha256(key)}")
        where = {**env, "FARTHING_DATA_DIR": str(data_dir)}
        serve(directory, port=port, env=where, on_ready=lambda address: _announce(address, key, directory, env, joined))


def _take(data_dir: Path, stack: ExitStack) -> str:
    """The demo key of a directory that is this process's alone until the stack unwinds.

    The start writes the configuration anew, with the ports of its own two servers; a gateway that runs from the same
    directory would take it up and lose its models.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((data_dir / LOCK).open("a"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return demo_key(data_dir / "demo-key")
    except BlockingIOError:
        raise ConfigError(
            f"A quickstart runs from {data_dir} already: end it, or give this one its own --data-dir and --port."
        ) from None
    except OSError as error:
        raise ConfigError(f"{data_dir} cannot be used ({error}): name another place with --data-dir.") from None


def demo_key(path: Path) -> str:
    """The demo key, made at the first run and kept for the next in a file that only its owner can read."""
    fresh = KEY_PREFIX + secrets.token_urlsafe(32)
    return made_once(path, fresh.encode() + b"\n").decode().strip()


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _start_servers(stack: ExitStack) -> tuple[ServerProcess, ServerProcess]:
    print("starting the local model (SmolLM2-135M) and the embedder (MiniLM) ...", flush=True)
    try:
        model = stack.enter_context(ServerProcess(MODEL, "--port", "0"))
        embeddings = stack.enter_context(ServerProcess(EMBEDDINGS, "--port", "0"))
    except ServerFailed as error:
        raise ConfigError(
            f"The demo's own servers did not start: {error}\nInstall the demo with `scripts/install demo model`, "
            "or serve models of your own with `farthing serve --config PATH`."
        ) from None
    return model, embeddings


def _announce(address: str, key: str, config: Path, env: Mapping[str, str], joined: tuple[FoundProvider, ...]) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    farthing, where = _own_command(), f"--config {shlex.quote(str(config))}"
    if config.parent != DATA_DIR:  # the files name the data by this variable, and else the usual place
        farthing = f"FARTHING_DATA_DIR={shlex.quote(str(config.parent))} {farthing}"
    lines = [
        f"base_url: {address}/v1",
        f"api_key: {key}",
        f"metrics: {address}/metrics",
        f"dashboard: {address}/dashboard  (log in with the api_key)",
        f"config: {config}  (edit it while this runs; the next start writes it anew)",
        "",
        *_tier_lines(env, joined),
        "",
        "Try it, twice (the second answer comes from the cache), or with -i to see where it came from:",
        f"curl {address}/v1/chat/completions -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'",
        "",
        "Let an eval decide which tier is good enough, then ask with -H 'x-farthing-feature: support':",
        f"FARTHING_API_KEY={key} {farthing} eval run sentiment --base-url {address}/v1 {where}",
        "",
        "See what it cost:",
        f"{farthing} report spend {where}",
        "",
        "Ctrl-C ends everything.",
    ]
    print("\n".join(lines), flush=True)


def _own_command() -> str:
    """How this command was called, so that the printed line can be pasted as it is."""
    called = Path(sys.argv[0])
    if called.name != "farthing":
        return "farthing"
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)


def _tier_lines(env: Mapping[str, str], joined: tuple[FoundProvider, ...]) -> list[str]:
    lines = ["tiers: tiny (smollm2-135m), reference (the same model as a dearer stand-in)"]
    lines += [
        f"joined: tier {one.name} ({one.model}), since {one.variable} is set; ask for model tier/{one.name}"
        for one in joined
    ]
    here = {one.name for one in joined}
    lines += [
        f"not joined: {one.name} ({one.variable} is set), since it needs `scripts/install providers`"
        for one in provider_from_environment(env)
        if one.name not in here
    ]
    return lines
