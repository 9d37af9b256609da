"""Counts of text by OpenAI's encodings."""

import gzip
import importlib.machinery
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import ConfigError
from ledger import tokens
from ledger.tokens import LONGEST_PIECE, bound_tokens, count_tokens, load


@pytest.mark.parametrize(
    ("text", "count"),
    [
        # Golden counts of tiktoken's o200k_base.
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("お誕生日おめでとう", 8),
        ("<|endoftext|>", 7),  # a name of a special token is text like any other
        ("'s\r\n\r\n   x", 4),
    ],
)
def test_golden_counts(text: str, count: int) -> None:
    assert count_tokens([text]) == count


def test_texts_are_counted_each_by_itself() -> None:
    assert count_tokens(["hello", " world"]) == count_tokens(["hello"]) + count_tokens([" world"])
    assert count_tokens([]) == bound_tokens([]) == 0


@settings(deadline=None)  # the first example loads the encodings
@given(st.lists(st.text(max_size=40), max_size=3))
def test_a_bound_is_never_below_the_count(texts: list[str]) -> None:
    assert bound_tokens(texts) >= bound_tokens(texts, model="gpt-5") >= count_tokens(texts) >= 0


def test_models_that_use_the_encodings_are_bounded_by_their_count_and_others_by_bytes() -> None:
    text = "The farthing was a quarter of a penny."

    exact = {
        bound_tokens([text], model=model) for model in ("gpt-4o-mini", "openai/gpt-5", "o3", "text-embedding-3-small")
    }
    bytes_ = {bound_tokens([text], model=model) for model in ("", "claude-sonnet-4-6", "gpt-99-imaginary", "my-gpt-4")}

    assert exact == {max(len(tokens._encoding(name).encode_ordinary(text)) for name in tokens._SOURCES)}
    assert bytes_ == {len(text)}


@pytest.mark.parametrize("character", [" ", "\n", "a", "^", "\u0301"])
def test_a_text_of_a_million_like_characters_is_counted(character: str) -> None:
    # Whole, a run of spaces makes tiktoken panic.
    text = character * 1_000_000

    assert 0 < count_tokens([text]) <= len(text.encode())
    assert bound_tokens([text], model="gpt-5") == len(text.encode())


def test_the_longest_piece_is_encoded_whole() -> None:
    text = " " * LONGEST_PIECE + "x"

    assert 0 < bound_tokens([text[1:]], model="gpt-5") < LONGEST_PIECE
    assert bound_tokens([text], model="gpt-5") == len(text)


def test_half_a_surrogate_is_counted_too() -> None:
    assert count_tokens(["a\ud800b"]) > 0
    assert bound_tokens(["a\ud800b"]) == 5


def test_both_encodings_load_without_a_network() -> None:
    load()


def found_in(folder: Path | None) -> "importlib.machinery.ModuleSpec | None":
    if folder is None:
        return None
    spec = importlib.machinery.ModuleSpec("ranks", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


def test_ranks_that_are_not_openais_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "o200k_base.tiktoken.gz").write_bytes(gzip.compress(b"YQ== 0\n"))

    with pytest.raises(ConfigError, match=r"does not hold OpenAI's ranks of o200k_base: reinstall"):
        tokens.ranks_of("o200k_base", found_in(tmp_path))


@pytest.mark.parametrize(
    "content", [None, b"not gzip", gzip.compress(b"YQ== 0")[:-9]], ids=["missing", "not gzip", "cut short"]
)
def test_ranks_that_cannot_be_read_are_told(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "data").mkdir()
    if content is not None:
        (tmp_path / "data" / "o200k_base.tiktoken.gz").write_bytes(content)

    with pytest.raises(ConfigError, match=r"cannot be read.*Reinstall"):
        tokens.ranks_of("o200k_base", found_in(tmp_path))


def test_a_missing_package_of_ranks_is_told() -> None:
    with pytest.raises(ConfigError, match="not installed"):
        tokens.ranks_of("o200k_base", None)
