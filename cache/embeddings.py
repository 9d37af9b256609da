"""Embeddings input by input: the texts of a call, their keys, and answers taken apart and put together.

A vector is kept as little-endian float32, which is what base64 answers hold and what the digits of float answers come
from: one entry serves both.
"""

import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
import orjson

from cache.key import KEY_BYTES, exact_key
from farthing.call import Call
from farthing.value import changed

Input = str | list[int]
"""A text, or the token ids of one."""

FLOATS: Final = frozenset({None, "float"})
BASE64: Final = "base64"
_PER_INPUT: Final = ("input", "encoding_format")
"""The members of a body that are no part of what its vectors have in common."""
_FLOAT: Final = "<f4"
_MARK: Final = b"\x01"  # no JSON begins so: an entry of a whole answer is never read as a vector


@dataclass(frozen=True, slots=True)
class Vector:
    """One embedding: `data` little-endian float32; `model` as the answer named it."""

    model: str
    data: bytes


def inputs_of(body: Mapping[str, Any]) -> list[Input] | None:
    """The inputs of an embedding call one by one, None where it has a form that OpenAI's API does not know."""
    if body.get("encoding_format") not in (*FLOATS, BASE64):
        return None
    given = body.get("input")
    if type(given) is str:
        return [given]
    if type(given) is not list or not given:
        return None
    if _is_tokens(given):
        return [given]
    texts = all(type(one) is str for one in given)
    return given if texts or all(type(one) is list and _is_tokens(one) for one in given) else None


def _is_tokens(given: list[Any]) -> bool:
    return bool(given) and all(type(token) is int for token in given)


def input_keys(secret: bytes, call: Call, partition: str, inputs: Sequence[Input]) -> list[bytes]:
    """A key of 32 bytes for each input: equal for two calls exactly when one may be given the other's vector.

    The key of the call without its inputs (tenant, feature, environment, partition, model, dimensions and whatever
    else it says) keys the hash of each. Equal tokens as text and as ids are two inputs.
    """
    rest = {name: value for name, value in call.body.items() if name not in _PER_INPUT}
    scope = exact_key(secret, changed(call, body=rest), partition)
    return [hashlib.blake2b(_bytes_of(one), key=scope, digest_size=KEY_BYTES).digest() for one in inputs]


def _bytes_of(one: Input) -> bytes:
    return b"t" + one.encode("utf-8", "surrogatepass") if isinstance(one, str) else b"i" + orjson.dumps(one)


def weights(inputs: Sequence[Input]) -> list[int]:
    """How much of a call's tokens each of its inputs has, roughly: an id is as long as four bytes of text."""
    return [len(one.encode("utf-8", "surrogatepass")) or 1 if isinstance(one, str) else 4 * len(one) for one in inputs]


def shares(total: int, weights_: Sequence[int]) -> list[int]:
    """Whole parts of `total` in proportion to the weights, of which at least one is positive; they sum to it."""
    whole = sum(weights_)
    cuts = [total * weight // whole for weight in accumulate(weights_, initial=0)]
    return [after - before for before, after in pairwise(cuts)]


# --- entries -------------------------------------------------------------------------------------


def packed(vector: Vector) -> bytes:
    """The vector as a store keeps it."""
    name = vector.model.encode("utf-8", "surrogatepass")[:255]
    return _MARK + bytes((len(name),)) + name + vector.data


def unpacked(kept: bytes) -> Vector | None:
    """The vector in an entry, None where it holds something else."""
    if kept[:1] != _MARK or len(kept) < 2:
        return None
    begin = 2 + kept[1]
    data = kept[begin:]
    return Vector(kept[2:begin].decode("utf-8", "replace"), data) if data and len(data) % 4 == 0 else None


# --- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer holds: the vectors in the order of their inputs. `as_sent` where it also came in that order;
    `encodings` are those in which they came."""

    vectors: list[bytes]
    as_sent: bool
    encodings: frozenset[str]


def read_answer(body: Mapping[str, Any], count: int) -> Answered | None:
    """The vectors of an answer to `count` inputs, None for an answer that cannot be: another number of vectors, an
    index twice or beyond them, vectors of no or different length, or holding what is no finite float32."""
    data = body.get("data")
    if type(data) is not list or len(data) != count or not all(type(item) is dict for item in data):
        return None
    places = _places(data)
    if places is None:
        return None
    vectors: list[bytes] = [b""] * count
    encodings = set()
    for place, item in zip(places, data, strict=True):
        embedding = item.get("embedding")
        encodings.add(BASE64 if type(embedding) is str else "float")
        vectors[place] = _float32(embedding) or b""
    if len({len(vector) for vector in vectors}) != 1 or not _is_finite(vectors):
        return None
    return Answered(vectors, places == list(range(count)), frozenset(encodings))


def _places(data: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """The place of each item among the inputs: its index, or where nobody has one the order in which they came."""
    indexes = [item.get("index") for item in data]
    if all(index is None for index in indexes):
        return list(range(len(data)))
    if not all(type(index) is int for index in indexes):
        return None
    return indexes if sorted(indexes) == list(range(len(data))) else None  # type: ignore[return-value, type-var]


def _float32(embedding: Any) -> bytes | None:
    if type(embedding) is str:
        try:
            return binascii.a2b_base64(embedding.encode("ascii"), strict_mode=True)
        except ValueError:
            return None
    if type(embedding) is not list or not embedding:
        return None
    try:
        numbers = np.asarray(embedding)
    except (ValueError, OverflowError):
        return None  # lists within the list
    if numbers.ndim != 1 or numbers.dtype.kind not in "fiu":
        return None
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is found below
        return numbers.astype(_FLOAT).tobytes()


def _is_finite(vectors: Sequence[bytes]) -> bool:
    if not vectors[0] or len(vectors[0]) % 4:
        return False
    return bool(np.isfinite(np.frombuffer(b"".join(vectors), dtype=_FLOAT)).all())


def composed(envelope: Mapping[str, Any], vectors: Sequence[bytes], encoding: str | None) -> bytes:
    """An answer with these vectors, in this order, as `base64` or as floats (the shortest digits that mean the same
    float32); its other members are those of the envelope."""
    shown: dict[bytes, Any] = {vector: _shown(vector, encoding) for vector in set(vectors)}
    data = [{"object": "embedding", "index": index, "embedding": shown[one]} for index, one in enumerate(vectors)]
    return orjson.dumps({"object": "list", **envelope, "data": data}, option=orjson.OPT_SERIALIZE_NUMPY)


def _shown(vector: bytes, encoding: str | None) -> Any:
    if encoding == BASE64:
        return binascii.b2a_base64(vector, newline=False).decode()
    return np.frombuffer(vector, dtype=_FLOAT)
