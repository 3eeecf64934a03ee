"""Attached layers: saved as one small file, loaded onto the same encoder, removed completely."""

import dataclasses

import numpy as np
import pytest
from nightly import nightly
from other_families import with_model
from tiny_bert import write_tiny_bert

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.parameter_efficient import (
    BottleneckAdapters,
    LoRA,
    PrefixVectors,
    attach_saved,
)
from tfrs_distill.teachers.bert.parameter_efficient.attached import SavedWeights
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = ("galaxy space 7", "a wedding, a kiss and the king's long sword", "x")
METHODS = (
    LoRA(rank=2, targets=("query", "output")),
    BottleneckAdapters(width=3),
    PrefixVectors(length=2),
)


@pytest.fixture
def encoder(tiny_bert):
    return TextEncoder(tiny_bert[0])


def trained(encoder, method):
    attached = method.attach(encoder)
    random = np.random.default_rng(5)
    for variable in attached.trainable_variables:
        variable.assign_add(0.3 * random.normal(size=variable.shape))
    return attached


@pytest.mark.parametrize(
    "method", [METHODS[0], *map(nightly, METHODS[1:])], ids=lambda m: type(m).__name__
)
def test_a_file_gives_a_fresh_encoder_the_tuned_vectors(encoder, tiny_bert, tmp_path, method):
    plain = encoder.encode(TEXTS)
    attached = trained(encoder, method)
    tuned = encoder.encode(TEXTS)
    attached.save(tmp_path / "tuned.safetensors")
    # Only the trained numbers, 4 bytes each, and names: at most 100 bytes per weight and 1 kB.
    size = (tmp_path / "tuned.safetensors").stat().st_size
    weights = len(attached.trainable_variables)
    assert 4 * attached.num_parameters < size < 4 * attached.num_parameters + 120 * weights + 1000

    fresh = TextEncoder(tiny_bert[0])
    again = attach_saved(fresh, tmp_path / "tuned.safetensors")
    np.testing.assert_array_equal(fresh.encode(TEXTS), tuned)
    assert again.method == method
    again.detach()
    np.testing.assert_array_equal(fresh.encode(TEXTS), plain)
    # A second time on the same encoder: the earlier attachment has no effect.
    attach_saved(fresh, tmp_path / "tuned.safetensors")
    np.testing.assert_array_equal(fresh.encode(TEXTS), tuned)


@pytest.mark.parametrize("first", METHODS, ids=lambda m: type(m).__name__)
def test_attaching_twice_is_refused_and_nothing_changes(encoder, first):
    first.attach(encoder)
    vectors = encoder.encode(TEXTS)
    for second in METHODS:
        with pytest.raises(ValueError, match="already has added layers.*`detach\\(\\)`"):
            second.attach(encoder)
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)


@pytest.mark.parametrize(
    "method", [METHODS[0], nightly(METHODS[1])], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("family", ["distilbert", nightly("mpnet")])
def test_other_families_start_unchanged_and_learn(encoder, family, method):
    with_model(encoder, family)
    before = encoder.encode(TEXTS)
    attached = method.attach(encoder)
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)
    attached.trainable_variables[1].assign_add(0.5 + 0 * attached.trainable_variables[1])
    attached.trainable_variables[-1].assign_add(0.5 + 0 * attached.trainable_variables[-1])
    assert abs(encoder.encode(TEXTS) - before).max() > 1e-3
    attached.detach()
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)


def test_a_file_of_another_base_checkpoint_is_refused(encoder, tmp_path):
    trained(encoder, LoRA(rank=2)).save(tmp_path / "tuned")
    write_tiny_bert(tmp_path / "other", seed=1)
    other = TextEncoder(tmp_path / "other")
    before = other.encode(TEXTS)
    with pytest.raises(InputError, match="trained on another base checkpoint"):
        attach_saved(other, tmp_path / "tuned")
    np.testing.assert_array_equal(other.encode(TEXTS), before)
    LoRA(rank=2).attach(other)  # nothing remains


def test_a_file_of_another_configuration_is_refused(encoder, tiny_bert, tmp_path):
    trained(encoder, LoRA(rank=2)).save(tmp_path / "tuned")
    fresh = TextEncoder(tiny_bert[0])
    attached = LoRA(rank=4).attach(fresh)
    with pytest.raises(InputError, match=r"LoRA\(rank=2.*not for LoRA\(rank=4.*`attach_saved"):
        attached.load(tmp_path / "tuned")
    attached.detach()
    attached = BottleneckAdapters().attach(fresh)
    with pytest.raises(InputError, match=r"LoRA\(rank=2.*not for BottleneckAdapters\(width=16"):
        attached.load(tmp_path / "tuned")
    attached.detach()
    LoRA(rank=2, seed=9).attach(fresh).load(tmp_path / "tuned")  # the seed may differ
    np.testing.assert_array_equal(fresh.encode(TEXTS), encoder.encode(TEXTS))


def test_a_file_with_a_weight_of_another_shape_changes_nothing(encoder, tmp_path):
    attached = trained(encoder, LoRA(rank=2))
    attached.save(tmp_path / "tuned")
    saved = SavedWeights.read(tmp_path / "tuned")
    weights = {name: weight + 1 for name, weight in saved.weights.items()}
    last = sorted(weights)[-1]
    before = [variable.numpy() for variable in attached.trainable_variables]
    for changed, words in (
        (weights | {last: weights[last][:, :1]}, r"of shape \(\d+, 1\); expected 8"),
        ({n: w for n, w in weights.items() if n != last}, r"holds 7 weights, .* expected 8"),
        (weights | {"more": weights[last]}, "holds 9 weights, .* expected 8"),
    ):
        dataclasses.replace(saved, weights=changed).write(tmp_path / "changed")
        with pytest.raises(InputError, match=words):
            attached.load(tmp_path / "changed")
    for variable, value in zip(attached.trainable_variables, before):
        np.testing.assert_array_equal(variable, value)


def test_invalid_files_are_named(encoder, tiny_bert, tmp_path):
    with pytest.raises(InputError, match="There is no file .*nowhere"):
        attach_saved(encoder, tmp_path / "nowhere")
    trained(encoder, LoRA(rank=2)).save(tmp_path / "tuned")
    (tmp_path / "cut").write_bytes((tmp_path / "tuned").read_bytes()[:-10])
    fresh = TextEncoder(tiny_bert[0])
    with pytest.raises(InputError, match="cut cannot be read as saved weights.*truncated"):
        attach_saved(fresh, tmp_path / "cut")
    with pytest.raises(InputError, match="holds no parameter-efficient weights.*format is 'pt'"):
        attach_saved(fresh, tiny_bert[0] / "model.safetensors")
    SavedWeights("Magic", {}, "", {"a": np.zeros(1, np.float32)}).write(tmp_path / "magic")
    with pytest.raises(InputError, match="holds weights of Magic with .*does not have"):
        attach_saved(fresh, tmp_path / "magic")


@pytest.mark.parametrize("ending", ["merge", "detach"])
def test_detached_layers_can_no_longer_be_used(encoder, tmp_path, ending):
    attached = LoRA(rank=2).attach(encoder)
    getattr(attached, ending)()
    how = {"merge": "merged", "detach": "taken off"}[ending]
    for call in (attached.merge, attached.detach, lambda: attached.save(tmp_path / "f")):
        with pytest.raises(ValueError, match=f"they were {how}. Attach them again"):
            call()
    with pytest.raises(ValueError, match="`load` needs the added layers"):
        attached.load(tmp_path / "f")
    LoRA(rank=2).attach(encoder)


@pytest.mark.nightly
@pytest.mark.realdata
def test_on_minilm_few_weights_train_and_a_merged_lora_gives_the_same_vectors(
    minilm_folder, tmp_path
):
    encoder = TextEncoder(minilm_folder)
    texts = ["Heat (1995)", "a romance about a king", "Toy Story (1995) Animation, Children's"]
    before, budget = encoder.encode(texts), 0.02 * encoder.num_parameters
    for method in (BottleneckAdapters(), PrefixVectors(), LoRA()):
        attached = method.attach(encoder)
        assert attached.num_parameters <= budget
        attached.save(tmp_path / "tuned")
        assert (tmp_path / "tuned").stat().st_size < 3e6
        if not isinstance(method, LoRA):
            attached.detach()
    np.testing.assert_array_equal(encoder.encode(texts), before)
    # Six layers, query and value, 384 x 8 and 8 x 384 each.
    assert attached.num_parameters == 6 * 2 * 2 * 384 * 8
    random = np.random.default_rng(0)
    for variable in attached.trainable_variables:
        variable.assign_add(0.02 * random.normal(size=variable.shape))
    tuned = encoder.encode(texts)
    assert abs(tuned - before).max() > 1e-3
    attached.merge()
    np.testing.assert_allclose(encoder.encode(texts), tuned, atol=1e-5)  # rounding of the weights


def test_a_flipped_bit_of_a_file_is_an_error_or_has_no_effect(tmp_path):
    """White space between a header's values has no meaning."""
    path = tmp_path / "tuned"
    weights = {"a": np.float32([[1, 2]]), "b": np.float16([3])}
    SavedWeights("LoRA", {"rank": 2}, "base", weights).write(path)
    content, seen = path.read_bytes(), 0
    for bit in range(0, 8 * len(content), 5):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = SavedWeights.read(path)
        except InputError as error:
            assert str(path) in str(error)
            seen += 1
            continue
        assert (found.method, found.arguments, found.base_fingerprint) == (
            *("LoRA", {"rank": 2}, "base"),
        )
        assert {n: w.tolist() for n, w in found.weights.items()} == {"a": [[1, 2]], "b": [3]}
    assert seen > 0.9 * len(range(0, 8 * len(content), 5))
