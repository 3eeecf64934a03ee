"""The trained weights, and their shares of the learning rate."""

import numpy as np
import pytest
from tiny_bert import write_tiny_bert

from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.trained_layers import AllLayers, TopLayers


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write_tiny_bert(folder, num_layers=3)
    return LayerStack(TextEncoder(folder).model)


def test_lower_layers_have_lower_learning_rates(stack):
    groups = AllLayers(layer_decay=0.5).groups(stack)
    np.testing.assert_allclose([factor for factor, _ in groups], [0.125, 0.25, 0.5, 1.0])
    embeddings, *layers = [variables for _, variables in groups]
    assert all("embeddings" in variable.name for variable in embeddings) and len(embeddings) == 5
    for number, variables in enumerate(layers):
        assert len(variables) == 16
        assert all(f"layer_._{number}/" in variable.name for variable in variables)


def test_top_layers_learn_at_the_full_rate(stack):
    ((factor, variables),) = TopLayers(2).groups(stack)
    assert factor == 1.0 and len(variables) == 32
    assert not any("layer_._0/" in v.name or "embeddings" in v.name for v in variables)


def test_more_layers_than_exist_are_refused(stack):
    with pytest.raises(ValueError, match="within 1 to 3, the encoder's layers.*num_layers=4"):
        TopLayers(4).groups(stack)


@pytest.mark.parametrize(
    "kind, value, words",
    [
        (TopLayers, 0, r"`num_layers` must be a whole number of at least 1\. .*num_layers=0"),
        (AllLayers, 0.0, r"`layer_decay` must be above 0 and at most 1\. .*layer_decay=0\.0"),
        (AllLayers, 1.1, "`layer_decay` must be above 0"),
    ],
)
def test_wrong_arguments_are_refused(kind, value, words):
    with pytest.raises(ValueError, match=words):
        kind(value)
