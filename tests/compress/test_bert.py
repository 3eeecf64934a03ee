"""Fewer layers and 8-bit weights, against a BERT in float64 NumPy and transformers' own layers."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import bert_in_numpy, wordpieces, write_tiny_bert
from tiny_checkpoints import write_tiny_checkpoint
from torch_file import tensor, write_torch_file

from tfrs_distill.compress import bert
from tfrs_distill.compress.bert import drop_layers, encoder_to_tflite, layer_importance
from tfrs_distill.errors import InputError
from tfrs_distill.serving.interpreter import TFLiteModel
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = ("a film", "Galaxy, rocket planet alien space and a long wedding", "the king's horse")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """`(folder, weights)` of three layers; it must not be changed."""
    folder = tmp_path_factory.mktemp("bert") / "tiny"
    return folder, write_tiny_bert(folder, num_layers=3)


@pytest.fixture(scope="module")
def encoder(tiny):
    return TextEncoder(tiny[0])


def of_layers(weights, kept):
    """The weights of some layers, renumbered as if there were no others."""
    some = {name: value for name, value in weights.items() if not name.startswith("encoder")}
    for new, old in enumerate(kept):
        start = f"encoder.layer.{old}."
        for name, value in weights.items():
            if name.startswith(start):
                some[f"encoder.layer.{new}.{name.removeprefix(start)}"] = value
    return some


def expected_vectors(folder, weights, texts=TEXTS, pooled=lambda hidden: hidden.mean(axis=0)):
    vectors = np.stack([pooled(bert_in_numpy(weights, wordpieces(folder, t))) for t in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def checksums(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_kept_layers_compute_the_same_as_in_numpy_and_the_file_is_smaller(tiny, tmp_path):
    folder, weights = tiny
    before = checksums(folder)
    assert drop_layers(folder, tmp_path / "new" / "small", keep=[0, 2]) == tmp_path / "new/small"
    small = tmp_path / "new" / "small"
    np.testing.assert_allclose(
        TextEncoder(small).encode(TEXTS),
        expected_vectors(folder, of_layers(weights, [0, 2])),
        atol=2e-6,  # float32
    )
    layer = 4 * sum(v.size for name, v in weights.items() if ".layer.1." in name)
    saved = (folder / "model.safetensors").stat().st_size
    saved -= (small / "model.safetensors").stat().st_size
    assert layer <= saved <= layer + 4000  # and the header's entries of 16 arrays
    assert json.loads((small / "config.json").read_text())["num_hidden_layers"] == 2
    assert checksums(folder) == before


def test_weights_with_the_names_of_tensorflow_and_of_another_family(tmp_path):
    model = write_tiny_checkpoint(tmp_path / "whole", "distilbert")
    drop_layers(tmp_path / "whole", tmp_path / "small", keep=[1])
    encoder = TextEncoder(tmp_path / "small")
    input_ids, mask = encoder.tokenize(TEXTS)
    model.distilbert.transformer.layer = model.distilbert.transformer.layer[1:]
    hidden = model(input_ids=input_ids, attention_mask=mask).last_hidden_state.numpy()
    mean = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=2e-6)
    whole = TextEncoder(tmp_path / "whole").encode(TEXTS)
    assert np.abs(whole - expected).max() > 0.01


def test_pytorch_weights_and_the_files_of_sentence_transformers(tiny, tmp_path):
    folder, weights = shutil.copytree(tiny[0], tmp_path / "whole"), tiny[1]
    (folder / "model.safetensors").unlink()
    named = {f"bert.{name}": tensor(value) for name, value in weights.items()}
    write_torch_file(folder / "pytorch_model.bin", named)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    listed = [
        {"idx": n, "type": f"a.{kind}", "path": path} for n, (kind, path) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    (folder / "LICENSE").write_text("free")
    for name in ("tf_model.h5", "tf_model.h5.index.json"):
        (folder / name).write_text("of other weights")
    drop_layers(folder, tmp_path / "small", keep=[1])
    encoder = TextEncoder(tmp_path / "small")
    assert (encoder.pooling, encoder.max_length) == ("cls", 24)
    expected = expected_vectors(folder, of_layers(weights, [1]), pooled=lambda hidden: hidden[0])
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=2e-6)
    assert sorted(checksums(tmp_path / "small")) == [
        *("1_Pooling/config.json", "LICENSE", "config.json", "model.safetensors", "modules.json"),
        *("sentence_bert_config.json", "tokenizer_config.json", "vocab.txt"),
    ]


@pytest.mark.parametrize("keep", [[], [3], [-1, 0], [1, 0], [0, 0], [True], [0.0, 1.0]])
def test_invalid_layers_are_refused(tiny, encoder, keep, tmp_path):
    received = re.escape(f"Received: keep={keep}.")
    with pytest.raises(InputError, match=f"`keep` must name layers from 0 to 2.*{received}"):
        drop_layers(tiny[0], tmp_path / "small", keep=keep)
    with pytest.raises(InputError, match=f"`keep` must name layers from 0 to 2.*{received}"):
        layer_importance(encoder, TEXTS, keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_invalid_checkpoints_are_refused(tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no config.json. Give the folder of a BERT-family"):
        drop_layers(tmp_path / "empty", tmp_path / "small", keep=[0])
    fewer = shutil.copytree(tiny[0], tmp_path / "fewer")
    config = json.loads((fewer / "config.json").read_text())
    (fewer / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    expected = "must be of layers 0 to 1, as its config.json says. Received: weights of layers "
    with pytest.raises(InputError, match=re.escape(f"{expected}[0, 1, 2].")):
        drop_layers(fewer, tmp_path / "small", keep=[0])
    (fewer / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="fewer cannot be read"):
        drop_layers(fewer, tmp_path / "small", keep=[0])
    assert not (tmp_path / "small").exists()


def test_a_target_with_other_content_is_not_changed(tiny, tmp_path):
    small = tmp_path / "small"
    small.mkdir()  # empty: can be used
    first = checksums(drop_layers(tiny[0], small, keep=[0]))
    (small / "vocab.txt").write_text("damaged")
    # the same output is written again
    assert checksums(drop_layers(tiny[0], small, keep=[0])) == first
    expected = (
        r"`to` exists and holds something else than kept_layers \[1\] of .*Give another folder"
    )
    with pytest.raises(InputError, match=expected):
        drop_layers(tiny[0], small, keep=[1])
    assert checksums(small) == first
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="`to` exists and holds something else"):
        drop_layers(tiny[0], tmp_path / "file", keep=[1])
    with pytest.raises(InputError, match="`to` must not be in the checkpoint's folder"):
        drop_layers(tiny[0], tiny[0] / "small", keep=[1])


def test_an_interrupted_call_leaves_nothing(tiny, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        drop_layers(tiny[0], tmp_path / "small", keep=[1])
    assert list(tmp_path.iterdir()) == []


def test_modules_outside_the_folder_are_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "whole")
    (tmp_path / "pooling").mkdir()
    (tmp_path / "pooling" / "config.json").write_text("{}")
    listed = [{"idx": 0, "type": "a.Pooling", "path": "../pooling"}]
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="must be in it. Received: ../pooling/config.json"):
        drop_layers(folder, tmp_path / "small", keep=[1])
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("keep", [None, [0, 2]])
def test_importance_is_one_minus_the_mean_cosine_without_the_layer(tiny, encoder, keep):
    folder, weights = tiny
    whole = expected_vectors(folder, weights)
    importance = layer_importance(encoder, TEXTS, keep=keep, batch_size=2)
    assert list(importance) == [0, 1, 2] if keep is None else keep
    for layer, value in importance.items():
        others = [other for other in importance if other != layer]
        without = expected_vectors(folder, of_layers(weights, others))
        assert value == pytest.approx(1 - (whole * without).sum(axis=1).mean(), abs=1e-6)
        assert value > 0.01


def test_importance_needs_texts_and_two_layers(encoder):
    with pytest.raises(InputError, match=r"at least two layers.*keep=\[1\]"):
        layer_importance(encoder, TEXTS, keep=[1])
    with pytest.raises(ValueError, match="`texts` must hold at least one text. Received: texts of"):
        layer_importance(encoder, [])


def test_a_model_without_a_stack_of_layers_is_refused(encoder, monkeypatch):
    monkeypatch.setattr(encoder, "model", tf.keras.Sequential())
    with pytest.raises(InputError, match="BERT-family model with a stack.*Received: Sequential in"):
        layer_importance(encoder, TEXTS)


def test_a_float32_file_computes_the_vectors_in_batches_of_any_size(encoder, tmp_path):
    folder = tmp_path / "tiny"
    weights = write_tiny_bert(folder, num_layers=1)
    made = encoder_to_tflite(folder, tmp_path / "a" / "encoder.tflite", quantization="float32")
    assert made.path == tmp_path / "a" / "encoder.tflite"
    assert made.num_bytes == made.path.stat().st_size
    assert made.mean_cosine == pytest.approx(1, abs=1e-6)
    model = TFLiteModel(made.path)
    for texts in (TEXTS[:1], TEXTS):
        input_ids, mask = encoder.tokenize(texts)
        inputs = {"input_ids": input_ids, "attention_mask": mask}
        (vectors,) = model.run("serving_default", inputs).values()
        np.testing.assert_allclose(vectors, expected_vectors(folder, weights, texts), atol=2e-6)


def test_an_int8_file_of_fixed_size_has_a_byte_per_weight(tmp_path):
    folder = tmp_path / "wide"
    weights = write_tiny_bert(folder, num_layers=1, hidden_size=64)
    path = tmp_path / "encoder.tflite"
    made = encoder_to_tflite(folder, path, pooling="max", max_length=32, texts=TEXTS)
    matrices = sum(v.size for name, v in weights.items() if v.ndim == 2 and "pooler" not in name)
    assert matrices < made.num_bytes < 2 * matrices  # the graph itself is the rest
    expected = expected_vectors(folder, weights, pooled=lambda hidden: hidden.max(axis=0))
    cosines = []
    for text, vector in zip(TEXTS, expected):
        ids = wordpieces(folder, text)
        row, mask = np.zeros([2, 1, 32], np.int32)
        row[0, : len(ids)], mask[0, : len(ids)] = ids, 1
        inputs = {"input_ids": row, "attention_mask": mask}
        (vectors,) = TFLiteModel(path).run("serving_default", inputs).values()
        cosines.append(vectors[0] @ vector / np.linalg.norm(vectors[0]))
    assert made.mean_cosine == pytest.approx(np.mean(cosines), abs=1e-5)
    assert 0.99 < made.mean_cosine < 0.999999  # 8 bits are not 32


def test_a_file_that_computes_other_vectors_is_not_written(tiny, tmp_path, monkeypatch):
    path = tmp_path / "encoder.tflite"
    monkeypatch.setattr(bert, "_converted", lambda *_: b"")
    monkeypatch.setattr(bert, "TFLiteModel", lambda _: None)
    monkeypatch.setattr(bert, "_vectors", lambda *_: np.zeros([4, 16], np.float32))
    with pytest.raises(InputError, match="LiteRT computes other vectors than TensorFlow"):
        encoder_to_tflite(tiny[0], path, quantization="float32")
    assert list(tmp_path.iterdir()) == []


def test_arguments_of_a_file(tiny, tmp_path):
    with pytest.raises(InputError, match=r"`path` must end in .tflite. Received: .*encoder.bin"):
        encoder_to_tflite(tiny[0], tmp_path / "encoder.bin")
    with pytest.raises(InputError, match="`quantization` must be 'float32' or 'int8'. Received: 4"):
        encoder_to_tflite(tiny[0], tmp_path / "encoder.tflite", quantization=4)
    with pytest.raises(ValueError, match="`texts` must hold at least one text"):
        encoder_to_tflite(tiny[0], tmp_path / "encoder.tflite", texts=[])
    with pytest.raises(InputError, match="has positions for 128 tokens. Received: max_length=129"):
        encoder_to_tflite(tiny[0], tmp_path / "encoder.tflite", max_length=129)
    assert list(tmp_path.iterdir()) == []
