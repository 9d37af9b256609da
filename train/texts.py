"""Vectors of many texts, kept in a folder that git ignores: embedding them anew takes minutes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache.embedders.minilm import MiniLM

KEPT: Final = Path(__file__).parents[1] / "build" / "semantic_cache"
_BATCH: Final = 1024


class Embedded:
    """MiniLM's vectors; what was embedded once is read from one file a model version. Not for several processes."""

    def __init__(self, folder: Path = KEPT) -> None:
        self._model = MiniLM()
        self._file = folder / f"{self._model.version}.npz"
        self._rows: dict[str, int] = {}
        self._vectors = np.empty((0, self._model.dimension), np.float16)
        if self._file.exists():
            with np.load(self._file, allow_pickle=False) as kept:
                self._rows = {key: row for row, key in enumerate(kept["keys"].tolist())}
                self._vectors = kept["vectors"]

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, one row a text."""
        keys = [_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._rows}
        if missing:
            self._add(list(missing), list(missing.values()))
        found = self._vectors[[self._rows[key] for key in keys]].astype(np.float32)
        unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit

    def _add(self, keys: list[str], texts: list[str]) -> None:
        new = [self._model.embed_sync(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH)]
        self._rows |= {key: len(self._rows) + at for at, key in enumerate(keys)}
        self._vectors = np.concatenate([self._vectors, *(part.astype(np.float16) for part in new)])
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("wb") as file:
            np.savez(file, keys=np.array(list(self._rows)), vectors=self._vectors)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
