"""Chunks of similar length, and the vectors of their windows, against `TextEncoder.encode`."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.teachers.bert.text_chunks import LayerChunks, TokenChunks
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

LONG = "a wedding and a kiss and the king and a long sword and a galaxy of planets"
TEXTS = ("galaxy space", LONG, "x", "love " * 20, "saloon cowboy desert", "kiss 1 2 3 4 5 6 7 8")


def vectors_of(texts, rows, chunk_size):
    """A step's computation with the texts at `rows`, ascending."""
    chunks = texts.chunks_of(rows, chunk_size)
    windows = np.concatenate(chunks)
    pooled = tf.concat([texts.encode(*texts.chunk(chunk)) for chunk in chunks], axis=0)
    owners = np.searchsorted(rows, texts.tokens.texts[windows]).astype(np.int32)
    return texts.combine(pooled, owners, texts.tokens.lengths[windows], len(rows))


@pytest.mark.parametrize("chunk_size", [2, 100])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_length": 12, "long_texts": "windows"},
        {"max_length": 12, "long_texts": "windows", "pooling": "max"},
        {"max_length": 12, "long_texts": "windows", "pooling": "cls"},
        {"max_length": 12},
    ],
    ids=str,
)
def test_vectors_are_the_encoders(tiny_bert, settings, chunk_size):
    encoder = TextEncoder(tiny_bert[0], **settings)
    rows = np.array([0, 1, 3, 5])
    expected = encoder.encode(TEXTS)[rows]
    kinds = [TokenChunks(encoder, TEXTS)]
    if settings.get("pooling", "mean") == "mean":
        kinds += [LayerChunks(encoder, TEXTS, layers, chunk_size) for layers in (1, 2)]
    for texts in kinds:
        found = vectors_of(texts, rows, chunk_size)
        np.testing.assert_allclose(found, expected, atol=1e-5)  # another order of float32 sums


def test_chunks_hold_texts_of_similar_length_with_minimal_padding(tiny_bert):
    texts = TokenChunks(TextEncoder(tiny_bert[0]), TEXTS)
    lengths = texts.tokens.lengths
    chunks = texts.chunks_of(np.array([0, 1, 2, 3, 5]), 2)
    assert [len(chunk) for chunk in chunks] == [1, 2, 2]  # the smaller first, the longest last
    flat = np.concatenate(chunks)
    assert sorted(flat) == [0, 1, 2, 3, 5] and (np.diff(lengths[flat]) >= 0).all()
    for chunk in chunks:
        input_ids, mask = texts.chunk(chunk)
        assert input_ids.shape[1] == lengths[chunk].max()
        np.testing.assert_array_equal(mask.numpy().sum(axis=1), lengths[chunk])
    assert [len(c) for c in texts.chunks_of(np.arange(6), 3)] == [3, 3]
    assert [len(c) for c in texts.chunks_of(np.arange(6), 50)] == [6]


def test_only_the_top_layers_run_on_stored_outputs(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])
    texts = LayerChunks(encoder, TEXTS, 1, 4)
    before = vectors_of(texts, np.arange(6), 4)
    lower, upper = encoder.model.bert.encoder.layer
    lower.intermediate.dense.bias.assign_add(tf.ones([32]))
    np.testing.assert_array_equal(vectors_of(texts, np.arange(6), 4), before)
    upper.intermediate.dense.bias.assign_add(tf.ones([32]))
    assert abs(vectors_of(texts, np.arange(6), 4) - before).numpy().max() > 1e-3
    # One row per token, none of padding.
    assert texts.stored.shape == (texts.tokens.lengths.sum(), 16)
