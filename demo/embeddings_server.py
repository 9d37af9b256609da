"""OpenAI-compatible embeddings on the CPU: POST /v1/embeddings and GET /v1/models, served by MiniLM.

python -m demo.embeddings_server --port 8082
"""

import argparse
import asyncio
import base64
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cache.embedders.minilm import MAX_POSITIONS, EmbedderUnavailable, MiniLM, Vectors
from cache.embedders.pooled import EmbedderBusy, PooledEmbedder
from farthing.errors import FarthingError, InvalidJSON, InvalidParameter, ModelNotFound, Overloaded

MODEL = "minilm-l6"
MAX_INPUTS = 2048  # OpenAI's own limit: platform.openai.com/docs/api-reference/embeddings
MODEL_CARD = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sentence-transformers"}


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """What a caller asked for, after every check that needs no model."""

    texts: tuple[str, ...]
    base64: bool


def parse_request(body: bytes) -> EmbeddingRequest:
    """The request in a body. Raises a RequestError that says what to change."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(f"The body is not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidJSON("The body must be a JSON object")
    if fields.get("model") != MODEL:
        raise ModelNotFound(f"This server serves the model '{MODEL}' only", param="model")
    if fields.get("dimensions") not in (None, MiniLM.dimension):
        raise InvalidParameter(
            f"'{MODEL}' has {MiniLM.dimension} dimensions: send that number or leave `dimensions` out",
            param="dimensions",
        )
    encoding = fields.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise InvalidParameter("`encoding_format` must be 'float' or 'base64'", param="encoding_format")
    return EmbeddingRequest(_parse_input(fields.get("input")), base64=encoding == "base64")


def _parse_input(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_INPUTS:
        raise InvalidParameter(f"`input` must be a string or a list of 1 to {MAX_INPUTS} strings", param="input")
    if any(isinstance(text, int | list) for text in texts):
        raise InvalidParameter(
            "`input` holds token ids, which belong to another model's tokenizer: send text "
            "(LangChain: check_embedding_ctx_length=False)",
            param="input",
        )
    if not all(isinstance(text, str) and text for text in texts):
        raise InvalidParameter("every member of `input` must be a string that is not empty", param="input")
    return tuple(texts)


def _refuse_long(counts: Sequence[int], limit: int) -> None:
    for index, count in enumerate(counts):
        if count > limit:
            raise InvalidParameter(
                f"'{MODEL}' reads at most {limit} tokens and input {index} has {count}: split it",
                param="input",
            )


def _embedding(row: Vectors, as_base64: bool) -> Any:
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii") if as_base64 else row


def _answer(vectors: Vectors, counts: Sequence[int], as_base64: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _embedding(row, as_base64)}
            for index, row in enumerate(vectors)
        ],
        "model": MODEL,
        "usage": {"prompt_tokens": sum(counts), "total_tokens": sum(counts)},
    }


def _json(value: Any, status: int = 200) -> Response:
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, media_type="application/json")


def build_app(model: MiniLM) -> Starlette:
    """The ASGI application; its lifespan owns the thread that embeds."""
    embedder = PooledEmbedder(model, max_queue=2 * MAX_INPUTS)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await embedder.aclose()

    async def embeddings(request: Request) -> Response:
        wanted = parse_request(await request.body())
        counts = await asyncio.to_thread(model.count_tokens, wanted.texts)
        _refuse_long(counts, model.max_tokens)
        try:
            vectors = await embedder.embed(wanted.texts)
        except EmbedderBusy as error:
            raise Overloaded(f"{error}: try again shortly") from error
        return _json(_answer(vectors, counts, wanted.base64))

    async def models(_request: Request) -> Response:
        return _json({"object": "list", "data": [MODEL_CARD]})

    async def health(_request: Request) -> Response:
        return _json({"status": "ok"})

    async def refuse(_request: Request, error: Exception) -> Response:
        assert isinstance(error, FarthingError)
        return _json(error.envelope(), error.status)

    routes = [
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models),
        Route("/health", health),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={FarthingError: refuse})


class AnnouncingServer(uvicorn.Server):
    """uvicorn that prints the line `listening on HOST:PORT` when it really accepts connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or ():
            host, port = bound.getsockname()
            print(f"listening on {host}:{port}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo.embeddings_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    options = parser.parse_args(arguments)
    try:
        app = build_app(MiniLM(max_tokens=MAX_POSITIONS))
        bound = socket.create_server(("127.0.0.1", options.port))
    except (EmbedderUnavailable, OSError) as error:
        sys.exit(f"error: the embeddings server cannot start on 127.0.0.1:{options.port}: {error}")
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    with bound, suppress(KeyboardInterrupt):
        AnnouncingServer(config).run(sockets=[bound])


if __name__ == "__main__":
    main()
