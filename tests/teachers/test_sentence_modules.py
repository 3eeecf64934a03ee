"""Vectors follow the configuration in a folder of sentence-transformers, or it is refused."""

import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from tiny_bert import bert_in_numpy, wordpieces, write_tiny_bert
from torch_file import tensor, write_torch_file

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.checkpoint import checkpoint_fingerprint
from tfrs_distill.teachers.bert.sentence_modules import module_files, read_sentence_modules
from tfrs_distill.teachers.bert.text_chunks import TokenChunks
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

FLAGS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens")
TEXTS = ("film 12", "a very long heart breaking wedding 1 2 3 4 5 6 7 8 9", "saloon")
WEIGHT = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
BIAS = np.random.default_rng(1).normal(size=5).astype(np.float32)


def put(folder, name, content):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def pooling(*modes):
    """A pooling's configuration as written by sentence-transformers 2 to 5."""
    flags = {f"pooling_mode_{flag}": flag.removesuffix("_tokens") in modes for flag in FLAGS}
    flags["pooling_mode_cls_token"] = "cls" in modes
    return {"word_embedding_dimension": 16, "pooling_mode_lasttoken": "last" in modes} | flags


def modules(*kinds, beginning="sentence_transformers.models."):
    """`modules.json` of a Transformer and the given modules after it."""
    names = ["Transformer", *kinds]
    return [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": beginning + kind}
        for i, kind in enumerate(names)
    ]


def put_dense(folder, name="2_Dense", *, activation="activation.Tanh", bias=BIAS, binary=False):
    config = {"in_features": 16, "out_features": 5, "bias": bias is not None}
    put(folder, f"{name}/config.json", config | {"activation_function": f"torch.nn.{activation}"})
    weights = {"linear.weight": WEIGHT} | ({} if bias is None else {"linear.bias": bias})
    if binary:
        named = {key: tensor(weight) for key, weight in weights.items()}
        write_torch_file(folder / name / "pytorch_model.bin", named)
    else:
        safetensors.numpy.save_file(weights, folder / name / "model.safetensors")


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def read(folder, **arguments):
    return read_sentence_modules(folder, hidden_dim=16, **arguments)


# A complete encoder.


@pytest.fixture(scope="module")
def one_layer(tmp_path_factory):
    """`(folder, weights)` of a BERT of one layer."""
    folder = tmp_path_factory.mktemp("one_layer")
    return folder, write_tiny_bert(folder, num_layers=1)


@pytest.fixture(scope="module")
def stated(one_layer, tmp_path_factory):
    """A folder with first-token pooling, a dense layer, 12 wordpieces and lower case."""
    folder = shutil.copytree(one_layer[0], tmp_path_factory.mktemp("stated") / "bert")
    put(folder, "modules.json", modules("Pooling", "Dense", "Normalize"))
    put(folder, "1_Pooling/config.json", pooling("cls"))
    put_dense(folder)
    put(folder, "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": True})
    put(folder, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    put(folder, "tokenizer_config.json", settings | {"do_lower_case": False})
    return folder


@pytest.fixture(scope="module")
def encoder(stated):
    encoder = TextEncoder(stated)
    encoder._traced_forward = lambda: encoder._pooled_unscaled  # eager: tracing takes seconds
    return encoder


def expected_vectors(one_layer, texts, max_tokens=12):
    """`tanh(W h_0 + b)` of the texts in lower case, cut, in float64."""
    vectors = []
    for text in texts:
        tokens = wordpieces(one_layer[0], text)
        if len(tokens) > max_tokens:
            tokens = [*tokens[: max_tokens - 1], tokens[-1]]
        first = bert_in_numpy(one_layer[1], tokens)[0]
        vectors.append(np.tanh(WEIGHT.astype(np.float64) @ first + BIAS))
    return unit(np.array(vectors))


def test_vectors_follow_the_folders_configuration(one_layer, encoder):
    assert (encoder.pooling, encoder.max_length) == ("cls", 12)
    assert (encoder.text_dim, encoder.hidden_dim) == (5, 16)
    expected = expected_vectors(one_layer, TEXTS)
    for texts in (TEXTS, [text.upper() for text in TEXTS]):
        np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)
    tokens = map(tf.constant, encoder.tokenize(TEXTS))
    np.testing.assert_allclose(encoder.pooled(*tokens), expected, atol=1e-5)


def test_the_dense_layer_is_after_the_windows_of_a_text(one_layer, encoder):
    windowed = copy.copy(encoder)
    windowed.long_texts = "windows"
    first, *content, last = wordpieces(one_layer[0], TEXTS[1])
    windows = [[first, *content[start : start + 10], last] for start in (0, 10, 20)]
    assert 20 < len(content) <= 30
    pooled = np.mean([bert_in_numpy(one_layer[1], window)[0] for window in windows], axis=0)
    expected = unit(np.tanh(WEIGHT.astype(np.float64) @ pooled + BIAS))
    np.testing.assert_allclose(windowed.encode(TEXTS[1:2])[0], expected, atol=1e-5)
    chunks = TokenChunks(windowed, TEXTS[1:2])  # as `finetune` reads them
    rows = np.arange(3)
    found = chunks.combine(
        chunks.encode(*chunks.chunk(rows)), tf.zeros(3, tf.int32), chunks.tokens.lengths[rows], 1
    )
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_facts_count_the_dense_layer(one_layer, encoder, stated):
    assert encoder.num_parameters == sum(w.size for w in one_layer[1].values()) + 5 * 16 + 5
    files = [stated / "model.safetensors", stated / "2_Dense" / "model.safetensors"]
    assert encoder.num_bytes == sum(file.stat().st_size for file in files)


def test_the_users_arguments_have_precedence(stated, encoder, one_layer):
    chosen = TextEncoder(stated, pooling="mean", max_length=20)
    assert (chosen.pooling, chosen.max_length) == ("mean", 20)
    assert chosen.fingerprint() != encoder.fingerprint()
    plain = TextEncoder(one_layer[0])
    assert (plain.pooling, plain.max_length, plain.text_dim) == ("mean", 128, 16)


@pytest.mark.parametrize(("length", "expected"), [(None, 128), (999, 128), (64, 64)])
def test_the_length_is_within_the_models_positions(encoder, length, expected):
    """None means as many as the model takes: 128 here."""
    other = copy.copy(encoder)
    other.modules = dataclasses.replace(encoder.modules, max_length=length or 0)
    assert other._stated_length() == expected


# The folder's configuration.


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("listed", [True, False])
def test_each_pooling(tmp_path, mode, newer, listed):
    config = {"embedding_dimension": 16, "pooling_mode": mode} if newer else pooling(mode)
    put(tmp_path, "1_Pooling/config.json", config)
    if listed:
        beginning = "sentence_transformers.sentence_transformer.modules." if newer else "a.models."
        put(tmp_path, "modules.json", modules("Pooling", beginning=beginning))
    assert read(tmp_path).pooling == mode
    assert read(tmp_path, pooling="max").pooling == "max"


def test_a_pooling_without_settings_is_the_mean(tmp_path):
    put(tmp_path, "1_Pooling/config.json", {"word_embedding_dimension": 16})
    assert read(tmp_path).pooling == "mean"


def test_a_folder_without_configuration(tmp_path):
    (tmp_path / "2_notes").mkdir()
    (tmp_path / "2024_Runs").mkdir()
    stated = read(tmp_path)
    assert (stated.pooling, stated.max_length, stated.lower_case, stated.layers) == (
        *(None, None, False, ()),
    )
    assert module_files(tmp_path) == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (pooling("mean_sqrt_len"), "by mean_sqrt_len_tokens"),
        (pooling("weightedmean"), "by weightedmean"),
        (pooling("last"), "by lasttoken"),
        (pooling("cls", "mean"), "by cls and mean"),
        (pooling(), "by nothing"),
        ({"pooling_mode": "cls+max"}, "by cls and max"),
        ({"pooling_mode": ["mean", "max"]}, "by mean and max"),
        (pooling("mean") | {"pooling_mode_new_tokens": True}, "by mean and pooling_mode_new_tok"),
    ],
)
def test_another_pooling_is_refused_unless_the_user_gives_one(tmp_path, config, words):
    put(tmp_path, "1_Pooling/config.json", config)
    with pytest.raises(InputError, match=f"pools tokens {words}.*Give `pooling`, one of these"):
        read(tmp_path)
    assert read(tmp_path, pooling="cls").pooling == "cls"


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("modules.activation.Tanh", np.tanh),
        ("modules.linear.Identity", lambda x: x),
        ("modules.activation.ReLU", lambda x: np.maximum(x, 0)),
        ("modules.activation.Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("modules.activation.SiLU", lambda x: x / (1 + np.exp(-x))),
    ],
)
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("bias", [BIAS, None], ids=["bias", "no bias"])
def test_a_dense_layer(tmp_path, activation, function, binary, bias):
    put(tmp_path, "1_Pooling/config.json", pooling("mean"))
    put_dense(tmp_path, activation=activation, bias=bias, binary=binary)
    pooled = np.random.default_rng(2).normal(size=(3, 16))
    expected = function(pooled @ WEIGHT.T.astype(np.float64) + (0 if bias is None else bias))
    found = read(tmp_path).apply(tf.constant(pooled, tf.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_layers_are_applied_in_the_order_of_their_numbers(tmp_path):
    """Length 1 before the dense layer differs from length 1 after it; 10 comes after 2."""
    put(tmp_path, "1_Pooling/config.json", pooling("mean"))
    (tmp_path / "2_Normalize").mkdir()
    put_dense(tmp_path, "10_Dense")
    pooled = np.random.default_rng(2).normal(size=(3, 16))
    expected = np.tanh(unit(pooled) @ WEIGHT.T.astype(np.float64) + BIAS)
    found = read(tmp_path).apply(tf.constant(pooled, tf.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (("Pooling", "LayerNorm"), "with Pooling, LayerNorm"),
        (("Dense",), "with Dense"),
        (("Pooling", "Pooling"), "with Pooling, Pooling"),
        (("WordWeights", "Pooling"), "with WordWeights, Pooling"),
    ],
)
def test_modules_that_are_not_supported(tmp_path, kinds, words):
    put(tmp_path, "modules.json", modules(*kinds))
    put(tmp_path, "1_Pooling/config.json", pooling("mean"))
    with pytest.raises(InputError, match=f"computes its vectors {words}.*one Pooling, then any"):
        read(tmp_path)


def test_an_unlisted_module_is_refused_too(tmp_path):
    put(tmp_path, "1_Pooling/config.json", pooling("mean"))
    put(tmp_path, "2_LayerNorm/config.json", {"dimension": 16})
    with pytest.raises(InputError, match="with Pooling, LayerNorm"):
        read(tmp_path)


def test_missing_or_damaged_files_are_named(tmp_path):
    put(tmp_path, "modules.json", modules("Pooling", "Dense"))
    with pytest.raises(InputError, match=r"1_Pooling.config\.json is missing; modules\.json names"):
        read(tmp_path)
    put(tmp_path, "1_Pooling/config.json", pooling("cls"))
    put_dense(tmp_path)
    weights = tmp_path / "2_Dense" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-8])
    with pytest.raises(InputError, match=r"2_Dense.model\.safetensors cannot be read.*Fetch it"):
        read(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match="2_Dense holds no weights"):
        read(tmp_path)
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"do not fit: expected .*\(5, 8\).*Received: .*\(5, 16\)"):
        read_sentence_modules(tmp_path, hidden_dim=8)
    put_dense(tmp_path, activation="modules.activation.Mish")
    with pytest.raises(InputError, match="activation torch.nn.modules.activation.Mish, but only"):
        read(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"1_Pooling.config\.json cannot be read"):
        read(tmp_path)
    (tmp_path / "modules.json").write_text('[{"idx": 0}]')
    for look in (read, module_files):
        with pytest.raises(InputError, match=r"modules\.json cannot be read \(KeyError: 'type'"):
            look(tmp_path)


def test_a_dense_layer_on_other_outputs_is_refused(tmp_path):
    put(tmp_path, "1_Pooling/config.json", pooling("cls"))
    put_dense(tmp_path)
    config = json.loads((tmp_path / "2_Dense" / "config.json").read_text())
    put(tmp_path, "2_Dense/config.json", config | {"module_input_name": "token_embeddings"})
    with pytest.raises(InputError, match="a layer on sentence_embedding, token_embeddings"):
        read(tmp_path)


def test_texts(tmp_path):
    put(tmp_path, "sentence_roberta_config.json", {"max_seq_length": 50, "do_lower_case": True})
    assert (read(tmp_path).max_length, read(tmp_path).lower_case) == (50, True)
    put(tmp_path, "sentence_roberta_config.json", {"max_seq_length": None})
    assert (read(tmp_path).max_length, read(tmp_path).lower_case) == (0, False)
    put(tmp_path, "sentence_roberta_config.json", {"max_seq_length": "long"})
    with pytest.raises(InputError, match="`max_seq_length` 'long', not a whole number"):
        read(tmp_path)


def test_a_default_prompt_is_refused(tmp_path):
    prompts = {"query": "query: ", "none": ""}
    for name in (None, "none"):
        put(
            tmp_path,
            "config_sentence_transformers.json",
            {"prompts": prompts, "default_prompt_name": name},
        )
        read(tmp_path)
    put(
        tmp_path,
        "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": "query"},
    )
    with pytest.raises(InputError, match="a prompt before every text, 'query: '.*not supported"):
        read(tmp_path)


def test_the_fingerprint_depends_on_the_modules(tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert[0], tmp_path / "bert")
    found = {checkpoint_fingerprint(folder)}
    put(folder, "1_Pooling/config.json", pooling("mean"))
    found.add(checkpoint_fingerprint(folder))
    put(folder, "1_Pooling/config.json", pooling("cls"))
    found.add(checkpoint_fingerprint(folder))
    put_dense(folder)
    found.add(checkpoint_fingerprint(folder))
    put_dense(folder, bias=BIAS + 1)
    found.add(checkpoint_fingerprint(folder))
    assert len(found) == 5
