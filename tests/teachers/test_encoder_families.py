"""BERT, RoBERTa and DistilBERT against transformers' own forward pass, text by text."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_checkpoints import FAMILIES, MAX_TOKENS, write_tiny_checkpoint

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = (
    "Film 12 (1995).",
    "a",
    "Galaxy, rocket planet alien space and a long love",
    "",
    "saloon film 3",
    "the king's horse",
)
# float32 through 2 layers of width 16, in batches with another summation order: about 1e-6.
ATOL = 1e-5


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    """`(folder, model)`: the files, and their source model."""
    folder = tmp_path_factory.mktemp("families") / request.param
    return folder, write_tiny_checkpoint(folder, request.param)


@pytest.fixture(scope="module")
def encoders(checkpoint):
    return {pooling: TextEncoder(checkpoint[0], max_length=64, pooling=pooling) for pooling in POOL}


POOL = {
    "mean": lambda hidden: hidden.mean(axis=0),
    "cls": lambda hidden: hidden[0],
    "max": lambda hidden: hidden.max(axis=0),
}


@pytest.fixture(scope="module")
def hidden_states(checkpoint, encoders):
    """The last layer's outputs of one text without padding, float64 [num_tokens, 16]."""
    model, tokenizer = checkpoint[1], encoders["mean"].tokenizer
    shape = tf.TensorSpec([1, None], tf.int32)
    forward = tf.function(lambda ids: model(input_ids=ids), input_signature=[shape])

    def of(token_ids):
        outputs = forward(np.array([token_ids], np.int32))
        return outputs.last_hidden_state.numpy()[0].astype(np.float64)

    return lambda text: of(tokenizer(text)["input_ids"] if isinstance(text, str) else text)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("pooling", POOL)
def test_vectors_are_the_pooled_outputs_of_the_source_model(encoders, hidden_states, pooling):
    encoder = encoders[pooling]
    expected = unit(np.array([POOL[pooling](hidden_states(text)) for text in TEXTS]))
    for batch_size in (1, 4, 64):
        vectors = encoder.encode(TEXTS, batch_size=batch_size)
        assert vectors.shape == (len(TEXTS), 16) and vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, expected, atol=ATOL)
    assert abs(expected[:, None] - expected[None])[~np.eye(len(TEXTS), dtype=bool)].max() > 0.1


def test_other_texts_of_a_batch_do_not_change_a_vector(encoders):
    long = "galaxy rocket " * 4
    for encoder in encoders.values():
        alone = encoder.encode([TEXTS[0]])[0]
        np.testing.assert_allclose(encoder.encode([long, TEXTS[0]])[1], alone, atol=ATOL)


def test_padding_has_the_familys_id_and_no_weight(checkpoint, encoders):
    encoder = encoders["mean"]
    padding = {"bert": 0, "distilbert": 0, "roberta": 1}[checkpoint[1].config.model_type]
    input_ids, mask = encoder.tokenize(TEXTS)
    assert (input_ids[mask == 0] == padding).all() and (mask == 0).any()
    vectors = encoder.pooled(tf.constant(input_ids), tf.constant(mask)).numpy()
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS), atol=ATOL)


def test_all_positions_can_be_used_but_no_more(checkpoint, encoders, hidden_states):
    long = "1 2 3 4 5 6 7 8 9 0 " * 8
    encoder = encoders["mean"]
    assert encoder.tokenize([long])[0].shape == (1, MAX_TOKENS)
    tokens = encoder.tokenizer(long)["input_ids"]
    hidden = hidden_states([*tokens[: MAX_TOKENS - 1], tokens[-1]])
    np.testing.assert_allclose(encoder.encode([long])[0], unit(hidden.mean(axis=0)), atol=ATOL)
    with pytest.raises(
        InputError, match=r"positions for 64 tokens\. Received: max_length=65\. Give at most 64"
    ):
        TextEncoder(checkpoint[0], max_length=65)


def test_windows_of_a_long_text_have_their_special_tokens(checkpoint, hidden_states):
    encoder = TextEncoder(checkpoint[0], max_length=16, long_texts="windows")
    text = "film 1 2 3 4 5 6 7 8 9 0 king 1 2 3 4 5 6"
    special = encoder.tokenizer("")["input_ids"]
    content = encoder.tokenizer(text)["input_ids"][1:-1]
    assert len(special) == 2 and len(content) > 14
    total, count = np.zeros(16), 0
    for start in range(0, len(content), 14):  # 16 without the two special ones
        window = [special[0], *content[start : start + 14], special[1]]
        total, count = total + hidden_states(window).sum(axis=0), count + len(window)
    np.testing.assert_allclose(encoder.encode([text])[0], unit(total / count), atol=ATOL)


def test_facts_are_those_of_the_model(checkpoint, encoders):
    folder, model = checkpoint
    assert encoders["mean"].text_dim == 16
    assert encoders["mean"].num_parameters == sum(int(np.prod(w.shape)) for w in model.weights)
    assert encoders["mean"].num_bytes == (folder / "model.safetensors").stat().st_size
