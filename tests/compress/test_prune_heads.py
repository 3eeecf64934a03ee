"""Fewer attention heads, compared with the complete checkpoint with head outputs set to 0."""

import json
import re

import numpy as np
import pytest
from tiny_bert import bert_in_numpy, wordpieces, write_tiny_bert
from tiny_checkpoints import write_tiny_checkpoint

from tfrs_distill.compress.bert import drop_layers, prune_heads
from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = ("a film", "Galaxy, rocket planet alien space and a long wedding", "the king's horse")


def vectors_of(folder, weights, num_heads):
    means = [bert_in_numpy(weights, wordpieces(folder, t), num_heads=num_heads) for t in TEXTS]
    means = np.stack([hidden.mean(axis=0) for hidden in means])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def test_pruned_heads_have_no_influence_and_the_file_is_smaller(tmp_path):
    weights = write_tiny_bert(tmp_path / "whole", num_layers=3, num_heads=4)
    prune_heads(tmp_path / "whole", tmp_path / "less", heads={2: [3, 0], 0: [1]})
    for layer, columns in ((0, range(4, 8)), (2, (*range(4), *range(12, 16)))):
        weights[f"encoder.layer.{layer}.attention.output.dense.weight"][:, list(columns)] = 0
    expected = vectors_of(tmp_path / "whole", weights, 4)
    np.testing.assert_allclose(TextEncoder(tmp_path / "less").encode(TEXTS), expected, atol=2e-6)
    sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("whole", "less")]
    assert sizes[0] - sizes[1] == pytest.approx(4 * 3 * 4 * (4 * 16 + 3), abs=200)  # 3 heads of 4
    assert json.loads((tmp_path / "less" / "config.json").read_text())["pruned_heads"]["2"] == [
        0,
        3,
    ]
    drop_layers(tmp_path / "less", tmp_path / "both", keep=[2])
    assert (
        TextEncoder(tmp_path / "both").num_parameters
        < TextEncoder(tmp_path / "less").num_parameters
    )


def test_weights_with_the_names_of_tensorflow_and_of_another_family(tmp_path):
    model = write_tiny_checkpoint(tmp_path / "whole", "distilbert")
    prune_heads(tmp_path / "whole", tmp_path / "less", heads={1: [0]})
    encoder = TextEncoder(tmp_path / "less")
    input_ids, mask = encoder.tokenize(TEXTS)
    output = model.distilbert.transformer.layer[1].attention.out_lin
    output.kernel.assign(output.kernel.numpy() * (np.arange(16) >= 8)[:, None])
    hidden = model(input_ids=input_ids, attention_mask=mask).last_hidden_state.numpy()
    mean = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=2e-6)


@pytest.mark.parametrize(
    "heads, received",
    [
        ({}, "heads={}."),
        ({2: [0]}, "[0] of layer 2."),
        ({0: [2]}, "[2] of layer 0."),
        ({0: [0, 1]}, "[0, 1] of layer 0."),
        ({0: []}, "[] of layer 0."),
        ({0: [1, 1]}, "[1, 1] of layer 0."),
    ],
)
def test_invalid_heads_are_refused(heads, received, tmp_path):
    write_tiny_bert(tmp_path / "whole")
    with pytest.raises(InputError, match=re.escape(f"Received: {received}")):
        prune_heads(tmp_path / "whole", tmp_path / "less", heads=heads)
    assert not (tmp_path / "less").exists()
