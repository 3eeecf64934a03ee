"""The text encoder against a BERT in float64 NumPy: pooling, long texts, batches, arguments."""

import copy
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import bert_in_numpy, wordpieces

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.checkpoint import checkpoint_fingerprint
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = (
    "Film 12 (1995).",
    "a",
    "Galaxy, rocket planet alien space and a very long heart-breaking love wedding",
    "Saloon 3",
    "",
    "the king's horse",
    "Saloon 3",
)


POOL = {
    "mean": lambda windows: np.concatenate(windows).mean(axis=0),
    "cls": lambda windows: np.mean([hidden[0] for hidden in windows], axis=0),
    "max": lambda windows: np.concatenate(windows).max(axis=0),
}


@pytest.fixture(scope="module")
def encoder(tiny_bert):
    return TextEncoder(tiny_bert[0])


@pytest.fixture
def folder(tiny_bert, tmp_path):
    """A folder that a test can change."""
    return shutil.copytree(tiny_bert[0], tmp_path / "bert")


@pytest.fixture(scope="module")
def with_arguments(encoder):
    """An encoder of the same model with other arguments, so that nothing is loaded."""
    traced = {}
    for pooling in POOL:
        traced[pooling] = copy.copy(encoder)
        traced[pooling].pooling, traced[pooling]._traced_for = pooling, []
        traced[pooling]._traced_forward()

    def made(*, pooling="mean", **arguments):
        other = copy.copy(traced[pooling])
        for name, value in arguments.items():
            assert hasattr(other, name)
            setattr(other, name, value)
        return other

    return made


def vectors_in_numpy(tiny_bert, texts, max_tokens=10_000):
    """One text at a time: mean of the last layer over its tokens, scaled to length 1."""
    folder, weights = tiny_bert
    vectors = []
    for text in texts:
        tokens = wordpieces(folder, text)
        if len(tokens) > max_tokens:
            tokens = [*tokens[: max_tokens - 1], tokens[-1]]
        mean = bert_in_numpy(weights, tokens).mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    return np.array(vectors)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_vectors_are_those_of_a_bert_in_numpy(tiny_bert, encoder, batch_size):
    vectors = encoder.encode(TEXTS, batch_size=batch_size)
    assert vectors.shape == (len(TEXTS), 16) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors_in_numpy(tiny_bert, TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_texts_differ(encoder):
    similarity = encoder.encode(TEXTS[:4]) @ encoder.encode(TEXTS[:4]).T
    assert similarity[~np.eye(4, dtype=bool)].max() < 0.999


def test_order_is_kept_and_other_texts_have_no_influence(encoder):
    together = encoder.encode(TEXTS, batch_size=3)
    backwards = encoder.encode(TEXTS[::-1], batch_size=3)
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-6)
    for text, vector in zip(TEXTS, together):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-6)


def test_mean_of_the_models_last_hidden_state(encoder):
    for text in TEXTS[:3]:
        tokens = encoder.tokenizer(text, return_tensors="np")
        hidden = encoder.model(**{k: v.astype(np.int32) for k, v in tokens.items()})
        mean = hidden.last_hidden_state.numpy()[0].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(
            encoder.encode([text])[0], mean / np.linalg.norm(mean), atol=1e-5
        )


def test_tokens_are_padded_to_a_multiple_of_8(tiny_bert, encoder):
    input_ids, mask = encoder.tokenize(["a", "saloon 3 4 5 6 7 8 9"])
    assert input_ids.shape == mask.shape == (2, 16)
    for row, text in enumerate(["a", "saloon 3 4 5 6 7 8 9"]):
        expected = wordpieces(tiny_bert[0], text)
        assert input_ids[row, : len(expected)].tolist() == expected
        assert mask[row].tolist() == [1] * len(expected) + [0] * (16 - len(expected))


@pytest.mark.parametrize("max_length", [6, 8])
def test_long_texts_are_truncated(tiny_bert, with_arguments, max_length):
    text = "galaxy 1 2 3 4 5 6 7 8 9 0"
    assert len(wordpieces(tiny_bert[0], text)) == 13
    vector = with_arguments(max_length=max_length).encode([text])
    expected = vectors_in_numpy(tiny_bert, [text], max_length)
    np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert abs(vector - vectors_in_numpy(tiny_bert, [text])).max() > 1e-3


@pytest.mark.parametrize("pooling", POOL)
def test_windows_read_long_texts_completely(tiny_bert, with_arguments, pooling):
    """Windows of 6 wordpieces between [CLS] and [SEP], pooled as if they were one text."""
    folder, weights = tiny_bert
    texts = ["galaxy 1 2 3 4 5 6 7 8 9 0 king", "a", "film 1 2 3 4 5", "", "1 2 3 4 5 6 7 8 9"]
    encoder = with_arguments(max_length=8, long_texts="windows", pooling=pooling)
    expected = []
    for text, num_windows in zip(texts, [2, 1, 1, 1, 2]):
        first, *content, last = wordpieces(folder, text)
        windows = [
            bert_in_numpy(weights, [first, *content[start : start + 6], last])
            for start in range(0, max(len(content), 1), 6)
        ]
        assert len(windows) == num_windows
        vector = POOL[pooling](windows)
        expected.append(vector / np.linalg.norm(vector))
    for batch_size in (1, 3, 64):
        vectors = encoder.encode(texts, batch_size=batch_size)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    short = vectors_in_numpy(tiny_bert, texts[:1], 8) if pooling == "mean" else vectors[1:2]
    assert abs(vectors[0] - short).max() > 1e-3


@pytest.mark.parametrize("pooling", POOL)
def test_windows_of_short_texts_equal_cut_bit_for_bit(with_arguments, pooling):
    cut = with_arguments(pooling=pooling, max_length=32)
    windows = with_arguments(pooling=pooling, max_length=32, long_texts="windows")
    np.testing.assert_array_equal(windows.encode(TEXTS), cut.encode(TEXTS))


def test_progress_counts_a_long_text_when_its_last_window_is_read(with_arguments):
    encoder = with_arguments(max_length=8, long_texts="windows")
    # 12 wordpieces are 2 windows of 6, 15 are 3, the last with 3; then come the short ones.
    texts = ["1 2 3 4 5 6 7 8 9 0 1 2", "a", "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5", "king 1"]
    seen = []
    encoder.encode(texts, batch_size=2, advance=seen.append)
    assert seen == [1, 0, 2, 1]


def test_pool_equals_pooled_after_the_model(encoder, with_arguments):
    input_ids, mask = encoder.tokenize(TEXTS)
    hidden = encoder.model(input_ids=input_ids, attention_mask=mask).last_hidden_state
    for pooling, of_tokens in POOL.items():
        pooled = with_arguments(pooling=pooling).pool(hidden, mask).numpy()
        for row, states, seen in zip(pooled, hidden.numpy().astype(np.float64), mask):
            vector = of_tokens([states[seen == 1]])
            np.testing.assert_allclose(row, vector / np.linalg.norm(vector), atol=1e-6)
    np.testing.assert_allclose(encoder.pooled(input_ids, mask), encoder.encode(TEXTS), atol=1e-6)


def test_texts_of_similar_length_share_a_batch_padded_to_its_longest(encoder, tiny_bert):
    shapes = []
    spied = copy.copy(encoder)
    forward = encoder._traced_forward()
    spied._traced_forward = lambda: lambda ids, mask: shapes.append(ids.shape) or forward(ids, mask)
    lengths = sorted((len(wordpieces(tiny_bert[0], text)) for text in TEXTS), reverse=True)
    spied.encode(TEXTS, batch_size=3)
    assert shapes == [(3, lengths[0]), (3, lengths[3]), (1, lengths[6])]
    assert lengths[0] > lengths[3] > lengths[6]


def test_one_graph_serves_all_shapes_and_all_calls(encoder):
    encoder.encode(TEXTS, batch_size=2)
    graph = encoder._traced_forward()
    encoder.encode(["film"] * 5)
    assert encoder._traced_forward() is graph


def test_weights_trained_in_place_and_replaced_layers_are_used(folder):
    encoder = TextEncoder(folder)
    before = encoder.encode(TEXTS[:2])
    layer = encoder.model.bert.encoder.layer[1]
    old, kernel = layer.intermediate, layer.intermediate.dense.kernel.numpy()
    old.dense.kernel.assign(kernel + 0.3)
    trained = encoder.encode(TEXTS[:2])
    assert abs(trained - before).max() > 1e-3
    old.dense.kernel.assign(kernel)

    class Doubled(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner, self.factor = old, tf.Variable(2.0, trainable=True)

        def call(self, hidden_states):
            return self.factor * self.inner(hidden_states)

    layer.intermediate = Doubled()
    exchanged = encoder.encode(TEXTS[:2])
    hidden = encoder.model(*map(tf.constant, encoder.tokenize(TEXTS[:2]))).last_hidden_state
    np.testing.assert_allclose(
        exchanged, encoder.pool(hidden, encoder.tokenize(TEXTS[:2])[1]), atol=1e-6
    )
    assert abs(exchanged - before).max() > 1e-3
    layer.intermediate = old
    np.testing.assert_array_equal(encoder.encode(TEXTS[:2]), before)


def test_no_texts_give_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, 16)
    assert encoder.tokenize([])[0].shape == (0, 0)


def test_progress_counts_texts(encoder):
    seen = []
    encoder.encode(TEXTS, batch_size=3, advance=seen.append)
    assert seen == [3, 3, 1]


def test_facts_about_the_checkpoint(tiny_bert, encoder):
    folder, weights = tiny_bert
    assert encoder.text_dim == 16
    assert encoder.num_parameters == sum(weight.size for weight in weights.values())
    assert encoder.num_bytes == (folder / "model.safetensors").stat().st_size


def test_fingerprint_depends_on_the_checkpoint_and_every_argument(with_arguments, encoder, folder):
    same = encoder.fingerprint()
    assert with_arguments(folder=folder).fingerprint() == same != checkpoint_fingerprint(folder)
    arguments = {"max_length": 100, "pooling": "max", "long_texts": "windows"}
    others = [with_arguments(**{name: arguments[name]}).fingerprint() for name in arguments]
    (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text() + "more\n")
    others.append(with_arguments(folder=folder).fingerprint())
    assert len({same, *others}) == 5


def test_arguments_are_kept(folder):
    encoder = TextEncoder(folder, max_length=50, pooling="max", long_texts="windows")
    assert (encoder.max_length, encoder.pooling, encoder.long_texts) == (50, "max", "windows")
    encoder = TextEncoder(folder)
    assert (encoder.max_length, encoder.pooling, encoder.long_texts) == (128, "mean", "cut")
    assert encoder.folder == folder


@pytest.mark.parametrize("name, value", [("pooling", "sum"), ("long_texts", "split")])
def test_an_invalid_choice_is_refused(folder, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be '.*' or '.*Received: {name}='{value}'"):
        TextEncoder(folder, **{name: value})


@pytest.mark.parametrize("max_length", [2, 0, -1])
def test_a_length_without_room_for_a_word_is_refused(folder, max_length):
    with pytest.raises(
        ValueError, match=f"must be greater than 2, the special.*Received: max_length={max_length}"
    ):
        TextEncoder(folder, max_length=max_length)
    assert TextEncoder(folder, max_length=3).tokenize(["film king"])[0].shape == (1, 3)


def test_more_tokens_than_the_model_has_positions_for_are_refused(folder):
    with pytest.raises(
        InputError, match=r"positions for 128 tokens\. Received: max_length=129\..*windows"
    ):
        TextEncoder(folder, max_length=129)


def test_a_tokenizer_without_padding_is_refused(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": None}))
    with pytest.raises(
        InputError, match=r"has no padding token.*tokenizer_config\.json: pad_token"
    ):
        TextEncoder(folder)


def test_windows_need_a_fast_tokenizer(folder):
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CanineTokenizer"})
    )
    with pytest.raises(InputError, match="CanineTokenizer, cannot make windows.*long_texts='cut'"):
        TextEncoder(folder, long_texts="windows")
    assert TextEncoder(folder).tokenizer.is_fast is False


def test_one_string_is_not_a_sequence_of_texts(encoder):
    for read in (encoder.encode, encoder.tokenize):
        with pytest.raises(ValueError, match="must be a sequence of strings.*'film'"):
            read("film")
