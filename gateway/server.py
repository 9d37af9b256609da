"""Server: one or several uvicorn workers around the door."""

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from farthing.errors import ConfigError, FarthingError
from gateway.clock import SystemClock
from gateway.files import Files
from gateway.metrics import multiprocess_directory
from gateway.settings import Settings, load
from gateway.settings.watch import Watcher
from gateway.wire import PatientProtocol
from gateway.wiring import House, installation_secret

_LOG: Final = logging.getLogger("farthing")
_CONFIG: Final = "FARTHING_CONFIG"
_TALLIES: Final = "FARTHING_TALLIES"
WORKER_PATIENCE_S: Final = 10
"""How long a worker may be silent before it is replaced. Uvicorn's 5 s would kill workers of a machine that is merely
busy, and their calls with them; but while its parent waits for one, it does not replace another."""
TICK_S: Final = 1.0
GC_THRESHOLDS: Final = (20_000, 20, 50)
"""Allocations before a collection: a request makes some hundred containers and no cycles, so the default of 700
would look through them at every other request."""

OTHERS: Final = (
    *("uvicorn", "uvicorn.error", "httpx", "httpcore", "aiohttp", "asyncio", "faiss.loader", "openai"),
    *("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"),
)
"""Loggers of libraries. Below WARNING they are silent whatever our level: some of them write whole prompts."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application:
    """The ASGI application of one worker: opens the house at start-up, ticks it, closes it."""

    def __init__(self, path: Path, env: Mapping[str, str], settings: Settings, tallies: Path | None = None) -> None:
        watcher = Watcher(path, env, settings)
        with _disk_errors_told(settings.data_dir):
            self.house = House(settings, SystemClock(), watcher=watcher, tallies=tallies)
        self._alone = tallies is None
        self._ticking: asyncio.Task[None] | None = None
        self.failure = ""
        """Why it could not start: raised by a single worker, logged by one of several."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self.house.door(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            with _disk_errors_told(self.house.settings.data_dir):
                await self.house.open()
        except FarthingError as error:
            self.failure = error.message
            await send({"type": "lifespan.startup.failed", "message": "" if self._alone else error.message})
            return
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._ticking = asyncio.create_task(self._tick())
        if not self._alone:
            _LOG.info("worker %d is ready", os.getpid())
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
            if _is_orphan():
                _LOG.error("the parent process is gone, so this worker ends")
                signal.raise_signal(signal.SIGTERM)


def worker() -> Application:
    """The application of one of several workers; its configuration comes through the environment of the process."""
    path = Path(os.environ[_CONFIG])
    try:
        settings = load(path, os.environ)
    except FarthingError as error:
        # The files were good at the start and are not now: siblings serve on, the parent tries again until they are.
        _LOG.error("a worker could not be replaced: %s", error.message)
        sys.exit(1)
    write_logs(settings)
    try:
        return Application(path, os.environ, settings, Path(os.environ[_TALLIES]))
    except FarthingError as error:
        _LOG.error("%s", error.message)
        sys.exit(STARTUP_FAILURE)


def _is_orphan() -> bool:
    """True in one of several workers whose parent was killed: nobody would ever end it, and it keeps the port."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


@contextmanager
def _disk_errors_told(data_dir: Path) -> Iterator[None]:
    """What the disk refuses while the rooms are opened becomes a sentence. Raises ConfigError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"The files in {data_dir} cannot be used ({error}): check the disk, who may write there, and `data_dir`."
        ) from None


def serve(
    path: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    env: Mapping[str, str] | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM ends it; in the main thread. `on_ready` gets the base address (`http://HOST:PORT`).

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
        "http": PatientProtocol,
        "ws": "none",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,
        "lifespan": "on",  # `auto` would take a failed start for an application that has no start, and serve
        "timeout_keep_alive": server.keep_alive_s,
        "timeout_graceful_shutdown": server.shutdown_grace_s,
        "timeout_worker_healthcheck": WORKER_PATIENCE_S,
    }

    def ready() -> None:
        (on_ready or _announce)(address)

    if server.workers == 1:
        _serve_alone(Application(path, env, settings), options, listener, ready)
    else:
        _serve_together(path, settings, server.workers, options, listener, ready)


def _serve_alone(
    application: Application, options: dict[str, Any], listener: socket.socket, ready: Callable[[], None]
) -> None:
    # uvicorn repeats the signal that ended it, when all is closed: as an exception, it ends us in order as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _Announcing(uvicorn.Config(application, **options), ready).run(sockets=[listener])
    except KeyboardInterrupt:
        return
    except SystemExit:
        raise ConfigError(application.failure or "The server could not start; the reason stands above.") from None


def _serve_together(
    path: Path,
    settings: Settings,
    workers: int,
    options: dict[str, Any],
    listener: socket.socket,
    ready: Callable[[], None],
) -> None:
    from uvicorn.supervisors import Multiprocess

    os.environ[_CONFIG] = str(path.resolve())
    with _disk_errors_told(settings.data_dir):
        os.environ[_TALLIES] = str(multiprocess_directory(settings.data_dir).resolve())
        installation_secret(Files.below(settings.data_dir).secret)  # before workers could read it half-written
    config = uvicorn.Config("gateway.server:worker", factory=True, workers=workers, **options)
    supervisor = Multiprocess(config, sockets=[listener])
    ready()
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise ConfigError("A worker could not start, so none serves; the reason stands above.")


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
    for other in OTHERS:
        logging.getLogger(other).setLevel(logging.WARNING)
