"""The layers of every family: found, run separately, named, identified by their weights."""

import numpy as np
import pytest
import tensorflow as tf
from other_families import with_model

from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import TARGETS, LayerStack
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

FAMILIES = ("bert", "roberta", "electra", "distilbert", "mpnet")


@pytest.fixture
def encoder(tiny_bert):
    return TextEncoder(tiny_bert[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_top_layer_alone_returns_the_same_as_in_the_model(encoder, family):
    with_model(encoder, family)
    stack = LayerStack(encoder.model)
    ids = tf.constant([[5, 6, 7, 8, 9], [10, 11, 1, 1, 1]])  # 1 is RoBERTa's padding
    mask = tf.constant([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    outputs = encoder.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    alone = stack.run(stack.layers[1:], outputs.hidden_states[1], mask)
    seen = mask.numpy() == 1
    np.testing.assert_allclose(
        alone.numpy()[seen], outputs.last_hidden_state.numpy()[seen], atol=1e-6
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_used_for_vectors_is_counted_once(encoder, family):
    with_model(encoder, family)
    stack = LayerStack(encoder.model)
    found = [*stack.other_variables(), *(v for layer in stack.layer_variables() for v in layer)]
    pooler = [v for v in encoder.model.trainable_variables if "pooler" in v.name]
    expected = {id(v) for v in encoder.model.trainable_variables} - {id(v) for v in pooler}
    assert {id(v) for v in found} == expected and len(found) == len(expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_targets_are_six_different_matrices_of_the_right_shapes(encoder, family):
    stack = LayerStack(with_model(encoder, family).model)
    assert stack.width == 16 and len(stack.layers) == 2
    dense = {target: stack.dense(stack.layers[1], target) for target in TARGETS}
    assert len({id(layer) for layer in dense.values()}) == 6
    shapes = {target: tuple(layer.kernel.shape) for target, layer in dense.items()}
    assert shapes.pop("intermediate") == (16, 32) and shapes.pop("output") == (32, 16)
    assert set(shapes.values()) == {(16, 16)}
    words = {"query": "q", "key": "k", "value": "v"}
    for target, letter in words.items():
        assert dense[target].name.startswith(letter)
    for target, layer in dense.items():
        owner, attribute = stack.owner(stack.layers[1], target)
        assert getattr(owner, attribute) is layer


def test_the_fingerprint_depends_on_the_weights_but_not_on_the_pooler(encoder, tiny_bert):
    stack = LayerStack(encoder.model)
    first = stack.fingerprint()
    assert LayerStack(TextEncoder(tiny_bert[0]).model).fingerprint() == first
    encoder.model.bert.pooler.dense.bias.assign_add(tf.ones([16]))
    assert stack.fingerprint() == first
    encoder.model.bert.embeddings.token_type_embeddings.assign_add(tf.ones([2, 16]))
    assert stack.fingerprint() != first


def test_another_kind_of_model_is_refused(encoder):
    with pytest.raises(ValueError, match="ELECTRA, DistilBERT or MPNet. Received: TFAlbertModel"):
        LayerStack(with_model(encoder, "albert").model)
    with pytest.raises(ValueError, match="stack of layers.*Received: Sequential"):
        LayerStack(tf.keras.Sequential())
