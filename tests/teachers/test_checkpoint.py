"""Every layout of a checkpoint's files gives the same weights, and every damage is an error."""

import json
import shutil

import huggingface_hub
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from torch_file import tensor, write_torch_file

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.checkpoint import (
    checkpoint_fingerprint,
    checkpoint_folder,
    load_checkpoint,
    weight_files,
)


@pytest.fixture(scope="module")
def model(tiny_bert):
    """The model of the folder with PyTorch's names, whose vectors test_text_encoder.py checks."""
    return load_checkpoint(tiny_bert[0])[1]


@pytest.fixture
def copy(tiny_bert, tmp_path):
    """A folder that a test can damage."""
    return shutil.copytree(tiny_bert[0], tmp_path / "bert")


@pytest.fixture
def bare(copy):
    """The folder without weights."""
    (copy / "model.safetensors").unlink()
    return copy


def load(folder):
    return load_checkpoint(checkpoint_folder(folder))


def assert_same_weights(folder, model, *, rtol=0.0, without=()):
    loaded = load(folder)[1]
    pairs = list(zip(loaded.weights, model.weights, strict=True))
    assert len(pairs) == 39  # 5 of the embeddings, 16 per layer, 2 of the pooler
    for own, expected in pairs:
        if not any(part in own.name for part in without):
            np.testing.assert_allclose(own.numpy(), expected.numpy(), rtol=rtol, err_msg=own.name)


def write_shards(folder, weights, write, name):
    """Two files and their index, and a third one that the index does not name."""
    stem, suffix = name.split(".")
    keys = sorted(weights)
    weight_map = {}
    for part, chosen in enumerate((keys[:10], keys[10:]), start=1):
        file = f"{stem}-{part:05d}-of-00002.{suffix}"
        write(folder / file, {key: weights[key] for key in chosen})
        weight_map |= dict.fromkeys(chosen, file)
    write(folder / f"other.{suffix}", {key: 0 * weight for key, weight in weights.items()})
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / f"{name}.index.json").write_text(json.dumps(index))


def write_safetensors(path, weights):
    safetensors.numpy.save_file(weights, path, metadata={"format": "pt"})


def write_bin(path, weights):
    write_torch_file(path, {name: tensor(weight) for name, weight in weights.items()})


def test_shards_of_safetensors_are_those_of_the_index(tiny_bert, bare, model):
    write_shards(bare, tiny_bert[1], write_safetensors, "model.safetensors")
    assert [path.name for path in weight_files(bare)] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert_same_weights(bare, model)


@pytest.mark.parametrize("shards", ["5GB", "5KB"])
def test_tensorflow_files_of_transformers(bare, model, shards):
    model.save_pretrained(bare, safe_serialization=True, max_shard_size=shards)
    assert (len(weight_files(bare)) > 1) == (shards == "5KB")
    with safetensors.safe_open(weight_files(bare)[0], "np") as file:
        assert file.metadata() == {"format": "tf"}
    assert_same_weights(bare, model)


def test_a_tensorflow_checkpoint_with_a_head_and_without_pooler(bare, model):
    from transformers import TFAutoModelForMaskedLM

    with_head = TFAutoModelForMaskedLM.from_config(model.config)
    with_head.build_in_name_scope()
    by_name = {w.name.split("/", 1)[1]: w for w in model.weights}
    for weight in with_head.weights:
        if weight.name.split("/", 1)[1] in by_name:
            weight.assign(by_name[weight.name.split("/", 1)[1]])
    with_head.save_pretrained(bare, safe_serialization=True)
    assert_same_weights(bare, model, without=["pooler"])


def test_a_pytorch_file_alone_is_read(tiny_bert, bare, model):
    write_bin(bare / "pytorch_model.bin", tiny_bert[1])
    assert_same_weights(bare, model)


def test_shards_of_pytorch_files_are_those_of_the_index(tiny_bert, bare, model):
    write_shards(bare, tiny_bert[1], write_bin, "pytorch_model.bin")
    assert_same_weights(bare, model)


def test_the_names_of_the_first_berts_are_read(tiny_bert, bare, model):
    """Until 2019 the weights of a normalisation were called gamma and beta."""
    old = {
        f"bert.{name}".replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): w
        for name, w in tiny_bert[1].items()
    }
    write_bin(bare / "pytorch_model.bin", old)
    assert_same_weights(bare, model)


def test_safetensors_take_precedence_over_the_pytorch_file(tiny_bert, copy, model):
    write_bin(copy / "pytorch_model.bin", {name: 0 * w for name, w in tiny_bert[1].items()})
    assert weight_files(copy) == [copy / "model.safetensors"]
    assert_same_weights(copy, model)


# Half of the distance between neighbouring numbers: 10 and 7 bits after the point.
@pytest.mark.parametrize("kind, rtol", [(np.float16, 2.0**-11), (ml_dtypes.bfloat16, 2.0**-8)])
@pytest.mark.parametrize("write", [write_safetensors, write_bin])
def test_weights_in_half_precision(tiny_bert, bare, model, kind, rtol, write):
    name = {write_safetensors: "model.safetensors", write_bin: "pytorch_model.bin"}[write]
    write(bare / name, {name: weight.astype(kind) for name, weight in tiny_bert[1].items()})
    # float16 has fixed steps of 2**-24 below 2**-14; no relevant weight is so small.
    loaded = load(bare)[1]
    for own, expected in zip(loaded.weights, model.weights, strict=True):
        assert own.dtype == np.float32
        np.testing.assert_allclose(own.numpy(), expected.numpy(), rtol=rtol, atol=2.0**-25)


def test_fingerprint_depends_on_configuration_tokenizer_and_weights(tiny_bert, copy):
    same = checkpoint_fingerprint(tiny_bert[0])
    assert checkpoint_fingerprint(copy) == same
    for name in ("config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert checkpoint_fingerprint(copy) != same
        (copy / name).write_bytes(content)
    (copy / "README.md").write_text("not read")
    assert checkpoint_fingerprint(copy) == same


def test_fingerprint_depends_on_every_shard(tiny_bert, bare):
    write_shards(bare, tiny_bert[1], write_bin, "pytorch_model.bin")
    prints = {checkpoint_fingerprint(bare)}
    for path in weight_files(bare):
        path.write_bytes(path.read_bytes() + b"x")
        prints.add(checkpoint_fingerprint(bare))
    assert len(prints) == 3


def test_a_missing_shard_is_named(tiny_bert, bare):
    write_shards(bare, tiny_bert[1], write_safetensors, "model.safetensors")
    (bare / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        InputError,
        match=r"lacks 1 of the 2 weights files that model\.safetensors\.index\.json"
        r" names, first model-00002-of-00002\.safetensors",
    ):
        checkpoint_folder(bare)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_an_invalid_index(bare, content):
    (bare / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match="is not an index of weights files"):
        checkpoint_folder(bare)


def test_a_model_with_a_decoder_is_refused(bare):
    from transformers import BartConfig, TFAutoModel

    config = BartConfig(
        vocab_size=40,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        max_position_embeddings=16,
    )
    bart = TFAutoModel.from_config(config)
    bart.build_in_name_scope()
    bart.save_pretrained(bare, safe_serialization=True)
    with pytest.raises(InputError, match=r"is a bart, which has a decoder\. Give an encoder"):
        load(bare)


def test_weights_of_a_model_with_a_head(copy, model):
    """Checkpoints of a BERT for a task have a prefix in every name, and no pooler."""
    weights = safetensors.numpy.load_file(copy / "model.safetensors")
    weights = {f"bert.{n}": w for n, w in weights.items() if not n.startswith("pooler")}
    weights["classifier.weight"] = np.zeros((2, 16), np.float32)
    safetensors.numpy.save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert_same_weights(copy, model, without=["pooler"])


def test_a_folder_without_config(copy):
    (copy / "config.json").unlink()
    with pytest.raises(InputError, match=r"has no config\.json.*It holds: model\.safetensors, tok"):
        load(copy)


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json.*It holds: nothing"):
        load(tmp_path)


def test_a_folder_without_weights(copy):
    (copy / "model.safetensors").rename(copy / "weights.safetensors")
    with pytest.raises(
        InputError,
        match=r"no weights: model\.safetensors or pytorch_model\.bin is needed.*config\.json, tok",
    ):
        load(copy)


def test_a_folder_without_vocabulary(copy):
    (copy / "vocab.txt").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load(copy)


@pytest.mark.parametrize("keep", [0, 20, -100])
def test_truncated_weights(copy, keep):
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[:keep])
    with pytest.raises(InputError, match=r"cannot be read \(.*may be truncated"):
        load(copy)


def test_a_config_that_is_not_json(copy):
    (copy / "config.json").write_text('{"model_type": "be')
    with pytest.raises(InputError, match="cannot be read"):
        load(copy)


@pytest.fixture(params=["pt", "tf"])
def naming(request, copy, model):
    """The folder with the names of PyTorch or of TensorFlow."""
    if request.param == "tf":
        model.save_pretrained(copy, safe_serialization=True)
    return copy


def test_missing_weights_are_counted(naming):
    weights = safetensors.numpy.load_file(naming / "model.safetensors")
    lost = [name for name in weights if "layer" in name and "1" in name and "query" in name]
    assert len(lost) == 2
    safetensors.numpy.save_file(
        {name: w for name, w in weights.items() if name not in lost}, naming / "model.safetensors"
    )
    with pytest.raises(
        InputError, match=r"do not fit its config\.json: 2 are missing, first '.*layer.*query"
    ):
        load(naming)


def test_weights_of_another_width(naming):
    config = json.loads((naming / "config.json").read_text())
    config |= {"hidden_size": 32, "intermediate_size": 64}
    (naming / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"cannot be read.*another kind of model"):
        load(naming)


def test_another_kind_of_model(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "no such kind"}))
    with pytest.raises(InputError, match="cannot be read"):
        load(copy)


@pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "~/folder", "a/b/c"])
def test_a_folder_that_does_not_exist(name):
    with pytest.raises(InputError, match=f"encoder folder {name} does not exist"):
        load(name)


def test_a_file_is_not_a_folder(copy):
    with pytest.raises(InputError, match=r"must be a folder or a Hub name.*config\.json is a file"):
        load(copy / "config.json")


def test_an_unreachable_hub(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(
        InputError, match=r"'owner/model' is neither a folder nor a model.*\(no route\).*network"
    ):
        load("owner/model")


@pytest.fixture
def hub(monkeypatch, tiny_bert, tmp_path):
    """A Hub with one repository: returns its folder and what has been fetched from it."""
    remote = shutil.copytree(tiny_bert[0], tmp_path / "remote")
    (remote / "README.md").write_text("a model")
    (remote / "onnx").mkdir()
    (remote / "onnx" / "model.safetensors").write_text("of another kind")
    write_bin(remote / "pytorch_model.bin", tiny_bert[1])
    (remote / "training_args.bin").write_text("a pickle")
    fetched = []

    def download(name, *, allow_patterns=None, ignore_patterns=None):
        assert name == "owner/model"
        files = [str(p.relative_to(remote)) for p in sorted(remote.rglob("*")) if p.is_file()]
        local = tmp_path / "local"
        for file in huggingface_hub.utils.filter_repo_objects(
            files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            (local / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(remote / file, local / file)
            fetched.append(file)
        return str(local)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return remote, fetched


DESCRIBED = ["config.json", "tokenizer_config.json", "vocab.txt"]


def test_a_name_is_fetched_from_the_hub_without_unused_files(hub, model):
    assert_same_weights("owner/model", model)
    assert sorted(hub[1]) == sorted([*DESCRIBED, "model.safetensors"])


def test_the_pytorch_file_is_fetched_only_without_safetensors(hub, model):
    (hub[0] / "model.safetensors").unlink()
    assert_same_weights("owner/model", model)
    assert sorted(set(hub[1])) == sorted([*DESCRIBED, "pytorch_model.bin"])


def test_sentence_transformers_configuration_is_fetched_and_part_of_the_fingerprint(hub, model):
    for name in ("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"):
        (hub[0] / name).parent.mkdir(exist_ok=True)
        (hub[0] / name).write_text("{}")
    (hub[0] / "modules.json").write_text(
        json.dumps([{"idx": 0, "type": "a.Pooling", "path": "1_Pooling"}])
    )
    before = checkpoint_fingerprint("owner/model")
    assert sorted(hub[1]) == sorted(
        [*DESCRIBED, "modules.json", "model.safetensors"]
        + ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
    )
    (hub[0] / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert checkpoint_fingerprint("owner/model") != before
