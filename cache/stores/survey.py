"""Survey: how many vectors the file of the exact cache holds, and of what kind. It blocks: for the command line."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cache.embeddings import unpacked
from cache.entry import CorruptEntry, unpack
from cache.stores.file import connect

_FLOAT_BYTES: Final = 4
_LIVE: Final = "SELECT key, scope, value FROM answers WHERE expires_ns > ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVectors:
    """Vectors of one model, feature and dimension: `inputs` are distinct, `tokens` what they had."""

    model: str
    feature: str
    dimension: int
    inputs: int
    tokens: int


def kept_vectors(path: Path, now_ns: int) -> list[KeptVectors]:
    """The vectors that have not expired at `now_ns`, largest group first; none where there is no file.

    One text counts once for each tenant, feature, environment and set of parameters under which it was asked for, as
    it is kept. Raises sqlite3.Error where the file cannot be read.
    """
    if not path.exists():
        return []
    sums: dict[tuple[str, str, int], tuple[int, int]] = {}
    for group, tokens in _vectors(path, now_ns):
        inputs, total = sums.get(group, (0, 0))
        sums[group] = inputs + 1, total + tokens
    groups = [
        KeptVectors(model=model, feature=feature, dimension=dimension, inputs=inputs, tokens=tokens)
        for (model, feature, dimension), (inputs, tokens) in sums.items()
    ]
    return sorted(groups, key=lambda group: (-group.inputs, group.model, group.feature, group.dimension))


def _vectors(path: Path, now_ns: int) -> Iterator[tuple[tuple[str, str, int], int]]:
    with closing(connect(path, busy_s=1.0)) as database:
        for key, scope, value in database.execute(_LIVE, (now_ns,)):
            try:
                answer = unpack(value, key=key).answer
            except CorruptEntry:
                continue
            vector = unpacked(answer.body)
            if vector is not None:
                feature = scope.partition(b"\0")[2].decode("utf-8", "replace")
                group = answer.model, feature, len(vector.data) // _FLOAT_BYTES
                yield group, answer.usage.input_total
