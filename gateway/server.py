"""Server: one or several uvicorn workers around the door."""

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import uvicorn

from farthing.errors import ConfigError, FarthingError
from gateway.clock import SystemClock
from gateway.metrics import multiprocess_directory
from gateway.settings import Settings, load
from gateway.settings.watch import Watcher
from gateway.wiring import House

_LOG: Final = logging.getLogger("farthing")
_CONFIG: Final = "FARTHING_CONFIG"
_TALLIES: Final = "FARTHING_TALLIES"
TICK_S: Final = 1.0
GC_THRESHOLDS: Final = (20_000, 20, 50)
"""Allocations before a collection: a request makes some hundred containers and no cycles, so the default of 700
would look through them at every other request."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application:
    """The ASGI application of one worker: opens the house at start-up, ticks it, closes it."""

    def __init__(self, path: Path, env: Mapping[str, str], settings: Settings, tallies: Path | None = None) -> None:
        watcher = Watcher(path, env, settings)
        self.house = House(settings, SystemClock(), watcher=watcher, tallies=tallies)
        self._ticking: asyncio.Task[None] | None = None
        self.failure = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self.house.door(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.house.open()
        except FarthingError as error:
            self.failure = error.message
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._ticking = asyncio.create_task(self._tick())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._ticking.cancel()
        with suppress(asyncio.CancelledError):
            await self._ticking
        await self.house.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.house.tick()
            except FarthingError as error:
                _LOG.error("%s", error.message)
            except Exception as error:  # noqa: BLE001 - one bad second must not end the watch
                _LOG.error("the watch failed: %s", type(error).__name__)


def worker() -> Application:
    """The application of one of several workers; its configuration comes through the environment of the process."""
    path = Path(os.environ[_CONFIG])
    settings = load(path, os.environ)
    write_logs(settings)
    return Application(path, os.environ, settings, Path(os.environ[_TALLIES]))


def serve(
    path: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    env: Mapping[str, str] | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until a signal ends it. `on_ready` gets the base address (`http://HOST:PORT`); single worker only.

    Raises SettingsError for a bad tree and ConfigError where the address is taken or a room cannot be opened.
    """
    env = os.environ if env is None else env
    settings = load(path, env)
    said = settings.server
    server = replace(
        said,
        host=said.host if host is None else host,
        port=said.port if port is None else port,
        workers=said.workers if workers is None else workers,
    )
    write_logs(settings)
    listener = _listen(server.host, server.port)
    address = _address(server.host, listener)
    options: dict[str, Any] = {
        "loop": "uvloop",
        "http": "httptools",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": int(server.keep_alive_s),
        "timeout_graceful_shutdown": int(server.shutdown_grace_s),
    }
    if server.workers == 1:
        _serve_alone(Application(path, env, settings), options, listener, address, on_ready)
    else:
        _serve_together(path, settings, server.workers, options, listener)


def _serve_alone(
    application: Application,
    options: dict[str, Any],
    listener: socket.socket,
    address: str,
    on_ready: Callable[[str], None] | None,
) -> None:
    config = uvicorn.Config(application, **options)
    _Announcing(config, lambda: (on_ready or _announce)(address)).run(sockets=[listener])
    if application.failure:
        raise ConfigError(application.failure)


def _serve_together(
    path: Path, settings: Settings, workers: int, options: dict[str, Any], listener: socket.socket
) -> None:
    from uvicorn.supervisors import Multiprocess

    os.environ[_CONFIG] = str(path.resolve())
    os.environ[_TALLIES] = str(multiprocess_directory(settings.data_dir).resolve())
    config = uvicorn.Config("gateway.server:worker", factory=True, workers=workers, **options)
    Multiprocess(config, sockets=[listener]).run()


class _Announcing(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before anything else, so that a taken port is one clear sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen on {host}:{port} ({error.strerror}): end what uses it, or choose another with --port."
        ) from None
    listener.listen(2048)
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def _address(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _announce(address: str) -> None:
    _LOG.info("listening on %s", address)


def write_logs(settings: Settings) -> None:
    """Log lines of ours and of the server go to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.logging.level.upper(),
        format="%(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for chatty in ("uvicorn", "uvicorn.error", "httpx", "faiss.loader"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
