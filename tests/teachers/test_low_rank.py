"""LoRA against float64 NumPy: equal vectors at the start, merged weights, trained weights."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import bert_in_numpy, wordpieces

from tfrs_distill.teachers.bert.parameter_efficient.low_rank import LoRA, LowRankDense
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = ("galaxy space 7", "a wedding, a kiss and the king's long sword", "x")
# The name of each target in PyTorch's BERT, whose weights are [out, in].
IN_PYTORCH = {
    "query": "attention.self.query",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "key": "attention.self.key",
}


@pytest.fixture
def encoder(tiny_bert):
    return TextEncoder(tiny_bert[0])


def randomise(attached, scale=0.2):
    random = np.random.default_rng(1)
    for variable in attached.trainable_variables:
        variable.assign(scale * random.normal(size=variable.shape))


def expected_vectors(tiny_bert, weights):
    rows = []
    for text in TEXTS:
        mean = bert_in_numpy(weights, wordpieces(tiny_bert[0], text)).mean(axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)


def test_the_layer_adds_the_scaled_product():
    random = np.random.default_rng(0)
    dense = tf.keras.layers.Dense(5)
    dense.build([None, 4])
    layer = LowRankDense(dense, rank=2, scale=3.0, seed=0)
    kernel, down, up = (random.normal(size=s) for s in ((4, 5), (4, 2), (2, 5)))
    bias, inputs = random.normal(size=5), random.normal(size=(3, 6, 4))
    for variable, value in ((dense.kernel, kernel), (dense.bias, bias)):
        variable.assign(value)
    layer.down.assign(down)
    layer.up.assign(up)
    expected = inputs @ kernel + bias + 3.0 * (inputs @ down) @ up
    np.testing.assert_allclose(layer(tf.constant(inputs, tf.float32)), expected, rtol=1e-5)


def test_untrained_it_changes_no_bit_and_the_first_matrix_is_not_zero(encoder):
    before = encoder.encode(TEXTS)
    attached = LoRA(targets=tuple(IN_PYTORCH)).attach(encoder)
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)
    downs = [v.numpy() for v in attached.trainable_variables if "down" in v.name]
    # Drawn with variance 1 / in: 16 or 32 inputs, 8 columns, 12 matrices of 2 layers.
    assert len(downs) == 12 and not np.array_equal(downs[0], downs[1])
    for down in downs:
        assert 0.6 < down.std() * np.sqrt(down.shape[0]) < 1.4


@pytest.mark.parametrize("targets", [("query", "value"), tuple(IN_PYTORCH)])
def test_tuned_vectors_are_those_of_the_weights_plus_the_product(encoder, tiny_bert, targets):
    encoder.encode(TEXTS)  # the graph compiled before must not be used afterwards
    attached = LoRA(rank=3, alpha=6.0, targets=targets).attach(encoder)
    randomise(attached)
    weights = {name: value.astype(np.float64) for name, value in tiny_bert[1].items()}
    by_name = dict(zip(sorted(attached._variables), sorted(attached._variables)))
    assert len(by_name) == 2 * 2 * len(targets)
    for layer in range(2):
        for target in targets:
            down, up = (
                attached._variables[f"layer.{layer}.{target}.{part}"].numpy().astype(np.float64)
                for part in ("down", "up")
            )
            name = f"encoder.layer.{layer}.{IN_PYTORCH[target]}.weight"
            weights[name] = weights[name] + 6.0 / 3 * (down @ up).T
    expected = expected_vectors(tiny_bert, weights)
    tuned = encoder.encode(TEXTS)
    np.testing.assert_allclose(tuned, expected, atol=1e-5)  # float32 through two layers
    assert abs(expected - expected_vectors(tiny_bert, tiny_bert[1])).max() > 1e-2

    attached.merge()
    merged = encoder.model.bert.encoder.layer[1].attention.self_attention.query.kernel
    name = "encoder.layer.1.attention.self.query.weight"
    np.testing.assert_allclose(merged, weights[name].T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    assert not any(isinstance(part, LowRankDense) for part in encoder.model.submodules)
    with pytest.raises(ValueError, match="`save` needs the added layers, but they were merged"):
        attached.save("nowhere")


def test_the_number_of_trained_parameters(encoder):
    # Two layers, query and value: 16 x 4 down and 4 x 16 up each.
    attached = LoRA(rank=4).attach(encoder)
    assert attached.num_parameters == 2 * 2 * (16 * 4 + 4 * 16)
    assert len(attached.trainable_variables) == 8


def test_seeds_give_other_first_matrices(encoder):
    first = LoRA(seed=1).attach(encoder)
    downs = [first.trainable_variables[0].numpy()]
    first.detach()
    for seed in (1, 2):
        again = LoRA(seed=seed).attach(encoder)
        downs.append(again.trainable_variables[0].numpy())
        again.detach()
    np.testing.assert_array_equal(downs[0], downs[1])
    assert not np.array_equal(downs[0], downs[2])


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"rank": 0}, r"`rank` must be a whole number of at least 1\. Received: rank=0"),
        ({"rank": 1.5}, "`rank` must be a whole number"),
        ({"alpha": 0.0}, r"`alpha` must be greater than 0\. Received: alpha=0\.0"),
        ({"alpha": float("nan")}, "`alpha` must be greater than 0"),
        ({"targets": ()}, "`targets` must be some of query, key"),
        ({"targets": ("query", "query")}, "each once"),
        ({"targets": ("pooler",)}, r"Received: targets=\('pooler',\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        LoRA(**arguments)
