"""The text encoder against a BERT in float64 NumPy, and every way a folder can be wrong."""

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy
from tiny_bert import bert_in_numpy, wordpieces, write_tiny_bert

from tfrs_distill.errors import InputError
from tfrs_distill.teachers import TextEncoder, checkpoint_fingerprint

TEXTS = (
    "Film 12 (1995).",
    "a",
    "Galaxy, rocket planet alien space and a very long heart-breaking love wedding",
    "Saloon 3",
    "",
    "the king's horse",
    "Saloon 3",
)


@pytest.fixture(scope="module")
def encoder(tiny_bert):
    return TextEncoder(tiny_bert[0])


@pytest.fixture
def copy(tiny_bert, tmp_path):
    """A folder that a test may damage."""
    return shutil.copytree(tiny_bert[0], tmp_path / "bert")


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
def test_vectors_are_those_of_a_bert_written_out_in_numpy(tiny_bert, encoder, batch_size):
    vectors = encoder.encode(TEXTS, batch_size=batch_size)
    assert vectors.shape == (len(TEXTS), 16) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors_in_numpy(tiny_bert, TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_texts_differ(encoder):
    similarity = encoder.encode(TEXTS[:4]) @ encoder.encode(TEXTS[:4]).T
    assert similarity[~np.eye(4, dtype=bool)].max() < 0.999


def test_order_is_kept_and_the_company_does_not_matter(encoder):
    together = encoder.encode(TEXTS, batch_size=3)
    backwards = encoder.encode(TEXTS[::-1], batch_size=3)
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-6)
    for text, vector in zip(TEXTS, together):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-6)


def test_mean_of_the_models_own_last_hidden_state(encoder):
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
def test_long_texts_are_cut(tiny_bert, max_length):
    text = "galaxy 1 2 3 4 5 6 7 8 9 0"
    assert len(wordpieces(tiny_bert[0], text)) == 13
    vector = TextEncoder(tiny_bert[0], max_length=max_length).encode([text])
    expected = vectors_in_numpy(tiny_bert, [text], max_length)
    np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert abs(vector - vectors_in_numpy(tiny_bert, [text])).max() > 1e-3


def test_no_texts_give_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, 16)


def test_progress_counts_texts(encoder):
    seen = []
    encoder.encode(TEXTS, batch_size=3, advance=seen.append)
    assert seen == [3, 3, 1]


def test_facts_about_the_checkpoint(tiny_bert, encoder):
    folder, weights = tiny_bert
    assert encoder.text_dim == 16
    assert encoder.num_parameters == sum(weight.size for weight in weights.values())
    assert encoder.num_bytes == (folder / "model.safetensors").stat().st_size


def test_fingerprint_names_configuration_tokenizer_and_weights(tiny_bert, encoder, copy):
    same = checkpoint_fingerprint(tiny_bert[0])
    assert encoder.fingerprint() == same == checkpoint_fingerprint(copy)
    for name in ("config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert checkpoint_fingerprint(copy) != same
        (copy / name).write_bytes(content)
    (copy / "README.md").write_text("not read")
    assert checkpoint_fingerprint(copy) == same


def test_weights_in_several_files(tiny_bert, encoder, copy):
    weights = safetensors.numpy.load_file(copy / "model.safetensors")
    names = sorted(weights)
    (copy / "model.safetensors").unlink()
    for part, chosen in enumerate((names[:10], names[10:])):
        safetensors.numpy.save_file(
            {name: weights[name] for name in chosen}, copy / f"model-{part}.safetensors"
        )
    np.testing.assert_array_equal(TextEncoder(copy).encode(TEXTS), encoder.encode(TEXTS))


def test_weights_of_a_model_with_a_head(tiny_bert, encoder, copy):
    """Checkpoints of a BERT for a task write every name with a prefix, and have no pooler."""
    weights = safetensors.numpy.load_file(copy / "model.safetensors")
    weights = {f"bert.{n}": w for n, w in weights.items() if not n.startswith("pooler")}
    weights["classifier.weight"] = np.zeros((2, 16), np.float32)
    safetensors.numpy.save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_allclose(TextEncoder(copy).encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


def test_a_folder_without_config(copy):
    (copy / "config.json").unlink()
    with pytest.raises(InputError, match=r"has no config\.json.*It holds: model\.safetensors, tok"):
        TextEncoder(copy)


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json.*It holds: nothing"):
        TextEncoder(tmp_path)


def test_a_folder_without_weights(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"has no weights: a \*\.safetensors.*pytorch_model\.bin"):
        TextEncoder(copy)


def test_a_folder_without_vocabulary(copy):
    (copy / "vocab.txt").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        TextEncoder(copy)


@pytest.mark.parametrize("keep", [0, 20, -100])
def test_truncated_weights(copy, keep):
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[:keep])
    with pytest.raises(InputError, match=r"cannot be read \(.*may be truncated"):
        TextEncoder(copy)


def test_a_config_that_is_no_json(copy):
    (copy / "config.json").write_text('{"model_type": "be')
    with pytest.raises(InputError, match="cannot be read"):
        TextEncoder(copy)


def test_weights_that_are_missing_are_counted(copy):
    weights = safetensors.numpy.load_file(copy / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    safetensors.numpy.save_file(weights, copy / "model.safetensors")
    with pytest.raises(
        InputError, match=r"do not fit its config\.json: 1 are missing, first '.*la"
    ):
        TextEncoder(copy)


def test_weights_of_another_width(copy, tmp_path):
    write_tiny_bert(tmp_path / "wide", hidden_size=32)
    shutil.copy(tmp_path / "wide" / "model.safetensors", copy / "model.safetensors")
    with pytest.raises(InputError, match=r"cannot be read.*another kind of model"):
        TextEncoder(copy)


def test_another_kind_of_model(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "no such kind"}))
    with pytest.raises(InputError, match="cannot be read"):
        TextEncoder(copy)


@pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "~/folder", "a/b/c"])
def test_a_folder_that_does_not_exist(name):
    with pytest.raises(InputError, match=f"encoder folder {name} does not exist"):
        TextEncoder(name)


def test_a_file_is_no_folder(copy):
    with pytest.raises(InputError, match=r"must be a folder or a Hub name.*config\.json is a file"):
        TextEncoder(copy / "config.json")


def test_a_hub_that_does_not_answer(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(
        InputError, match=r"'owner/model' is neither a folder nor a model.*\(no route\).*network"
    ):
        TextEncoder("owner/model")


def test_a_name_is_fetched_from_the_hub(monkeypatch, tiny_bert, encoder):
    asked = []

    def download(name, **kwargs):
        asked.append(name)
        return str(tiny_bert[0])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    fetched = TextEncoder("owner/model")
    assert asked == ["owner/model"]
    np.testing.assert_array_equal(fetched.encode(TEXTS[:2]), encoder.encode(TEXTS[:2]))
