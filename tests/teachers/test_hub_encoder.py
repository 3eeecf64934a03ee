"""SavedModel encoders created by the test, against their arithmetic in NumPy."""

import gc
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.teachers.bert.hub_encoder import HubEncoder

TEXTS = ["banana", "a", "", "saloon planet", "été"]
WEIGHTS = np.array([[0.5, -1.0, 2.0, 0.25], [3.0, 1.5, -0.5, 1.0]], np.float32)
WORDS = ["film", "planet", "saloon"]


def counts_in_numpy(texts):
    """Letters "a" and bytes of each text."""
    return np.array([[text.count("a"), len(text.encode())] for text in texts], np.float64)


class Counts(tf.Module):
    """Strings to counts: a preprocessor."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        only_a = tf.strings.regex_replace(texts, "[^a]", "")
        lengths = [tf.strings.length(only_a), tf.strings.length(texts)]
        return tf.cast(tf.stack(lengths, axis=-1), tf.float32)


class Product(tf.Module):
    """Counts to vectors, or to several outputs like a BERT of TF Hub."""

    def __init__(self, several=False):
        super().__init__()
        self.weights, self.several = tf.Variable(WEIGHTS), several

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    def __call__(self, counts):
        vectors = counts @ self.weights
        if not self.several:
            return vectors
        return {
            "default": vectors,
            "pooled_output": 2.0 * vectors,
            "sequence_output": vectors[:, None, :],
            "length": tf.cast(counts[:, 1], tf.int32),
        }


class Whole(tf.Module):
    """Strings to the outputs of `Product`."""

    def __init__(self, several=False):
        super().__init__()
        self.counts, self.product = Counts(), Product(several)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        return self.product(self.counts(texts))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of all the models, by name."""
    root = tmp_path_factory.mktemp("models")
    tf.saved_model.save(Whole(), root / "whole")
    tf.saved_model.save(Whole(several=True), root / "several")
    tf.saved_model.save(Counts(), root / "counts")
    tf.saved_model.save(Product(several=True), root / "product")
    inner, other = Whole(), Whole(several=True)
    holder = tf.Module()
    holder.inner, holder.other = inner, other
    signatures = {"embed": inner.__call__, "embed_all": other.__call__}
    tf.saved_model.save(holder, root / "signatures", signatures=signatures)
    empty = tf.Module()
    empty.weights = tf.Variable(WEIGHTS)
    tf.saved_model.save(empty, root / "empty")
    return root


@pytest.fixture(scope="module")
def whole(models):
    return HubEncoder(models / "whole")


def expected(texts, factor=1.0):
    return factor * counts_in_numpy(texts) @ WEIGHTS.astype(np.float64)


def test_a_model_that_is_called_with_strings(whole):
    vectors = whole.encode(TEXTS)
    assert vectors.shape == (5, 4) and vectors.dtype == np.float32
    # Halves and quarters of small integers: exact in float32.
    np.testing.assert_array_equal(vectors, expected(TEXTS))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batches_keep_the_order_and_progress_counts_texts(whole, batch_size):
    seen = []
    vectors = whole.encode(TEXTS, batch_size=batch_size, advance=seen.append)
    np.testing.assert_array_equal(vectors, expected(TEXTS))
    assert seen == {1: [1] * 5, 2: [2, 2, 1], 5: [5]}[batch_size]
    assert whole.encode([]).shape == (0, 4)


@pytest.mark.parametrize("output_key, factor", [("default", 1.0), ("pooled_output", 2.0)])
def test_one_of_several_outputs(models, output_key, factor):
    encoder = HubEncoder(models / "several", output_key=output_key)
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS, factor))
    assert encoder.text_dim == 4


def test_a_preprocessor_and_an_encoder(models):
    encoder = HubEncoder(
        models / "product", preprocessor=models / "counts", output_key="pooled_output"
    )
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS, 2.0))
    assert encoder.num_parameters == 8
    files = [*(models / "product").rglob("*"), *(models / "counts").rglob("*")]
    assert encoder.num_bytes == sum(path.stat().st_size for path in files if path.is_file())


def test_a_model_of_signatures_only(models):
    encoder = HubEncoder(models / "signatures", signature="embed")
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS))
    encoder = HubEncoder(models / "signatures", signature="embed_all", output_key="pooled_output")
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS, 2.0))


def test_a_single_signature_is_the_default(tmp_path):
    holder = tf.Module()
    holder.inner = Whole()
    tf.saved_model.save(holder, tmp_path, signatures={"embed": holder.inner.__call__})
    np.testing.assert_array_equal(HubEncoder(tmp_path).encode(TEXTS), expected(TEXTS))


@pytest.fixture(scope="module")
def keras_model():
    texts = tf.keras.Input((), dtype=tf.string)
    words = tf.keras.layers.TextVectorization(output_mode="count", vocabulary=WORDS)(texts)
    dropped = tf.keras.layers.Dropout(0.5)(words)
    model = tf.keras.Model(texts, tf.keras.layers.Dense(3, use_bias=False)(dropped))
    model.layers[-1].set_weights([np.arange(12, dtype=np.float32).reshape(4, 3)])
    return model


@pytest.mark.parametrize("way", ["save", "export"])
def test_a_keras_model_with_its_dropout_off(keras_model, tmp_path, way):
    if way == "save":
        keras_model.save(tmp_path / "keras", save_format="tf")
    else:
        keras_model.export(tmp_path / "keras")
    encoder = HubEncoder(tmp_path / "keras")
    gc.collect()  # tables and variables belong to the loaded model, which has no other reference
    # Rows of the weights: 0, 1, 2 for an unknown word, then for film, planet, saloon.
    by_hand = [[9, 10, 11], [3, 4, 5], [0 + 6 + 6, 1 + 7 + 7, 2 + 8 + 8], [0, 0, 0]]
    vectors = encoder.encode(["saloon", "film", "planet heat planet", ""])
    np.testing.assert_array_equal(vectors, by_hand)
    assert encoder.text_dim == 3 and encoder.num_parameters == 12


def test_facts_about_the_model(models, whole):
    assert whole.text_dim == 4
    assert whole.num_parameters == 8
    files = [path for path in (models / "whole").rglob("*") if path.is_file()]
    assert whole.num_bytes == sum(path.stat().st_size for path in files) > 0


def test_fingerprint_depends_on_every_file_and_argument(models, whole, tmp_path):
    same = whole.fingerprint()
    assert HubEncoder(models / "whole").fingerprint() == same
    prints = {same}
    encoder = HubEncoder(models / "whole")
    for name, value in {"output_key": "default", "signature": "embed"}.items():
        setattr(encoder, name, value)
        prints.add(encoder.fingerprint())
        setattr(encoder, name, None)
    encoder.folders = [shutil.copytree(models / "whole", tmp_path / "copy")]
    assert encoder.fingerprint() == same
    for path in sorted(encoder.folders[0].rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            path.write_bytes(content + b"x")
            prints.add(encoder.fingerprint())
            path.write_bytes(content)
    assert encoder.fingerprint() == same
    for name in ("a/words.txt", "b/words.txt"):
        (encoder.folders[0] / name).parent.mkdir()
        (encoder.folders[0] / name).write_text("a")
        prints.add(encoder.fingerprint())
        (encoder.folders[0] / name).unlink()
    encoder.folders *= 2
    prints.add(encoder.fingerprint())
    # unchanged, 2 arguments, saved_model.pb, fingerprint.pb, 2 of variables, 2 assets, doubled
    assert len(prints) == 1 + 2 + 4 + 2 + 1


def test_a_folder_that_does_not_exist():
    with pytest.raises(InputError, match=r"no/such/model is neither a folder nor.*does not exist"):
        HubEncoder("no/such/model")


def test_an_address_that_cannot_be_reached(monkeypatch):
    import tensorflow_hub

    def refuse(handle):
        raise OSError("no route to host")

    monkeypatch.setattr(tensorflow_hub, "resolve", refuse)
    with pytest.raises(
        InputError, match=r"https://hub/model/1 is neither .*\(no route to host\)\..*the network"
    ):
        HubEncoder("https://hub/model/1")


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read as a SavedModel.*saved_model\.pb"):
        HubEncoder(tmp_path)


def test_a_damaged_model(models, tmp_path):
    folder = shutil.copytree(models / "whole", tmp_path / "copy")
    (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read as a SavedModel"):
        HubEncoder(folder)


def test_operations_of_another_package_are_explained(models, tmp_path):
    folder = shutil.copytree(models / "whole", tmp_path / "copy")
    content = (folder / "saved_model.pb").read_bytes()
    changed = content.replace(b"StaticRegexReplace", b"StaticRegexRewrite")
    assert changed != content
    (folder / "saved_model.pb").write_bytes(changed)
    with pytest.raises(InputError, match=r"Op type not registered.*pip install tensorflow-text"):
        HubEncoder(folder)


@pytest.mark.parametrize("output_key", [None, "embedding"])
def test_an_output_must_be_chosen_from_several(models, output_key):
    words = r"outputs default, length, pooled_output, sequence_output\. Received: output_key="
    with pytest.raises(InputError, match=words + repr(output_key)):
        HubEncoder(models / "several", output_key=output_key)


def test_a_name_for_the_only_output_is_refused(models):
    with pytest.raises(InputError, match=r"one output without a name\. Received: output_key='a'"):
        HubEncoder(models / "whole", output_key="a")


@pytest.mark.parametrize(
    "output_key, found",
    [
        ("sequence_output", r"For 3 texts it returns \[3, 1, 4\]\. If it has several outputs"),
        ("length", r"must return vectors \[num_texts, text_dim\]\. It returns int32\."),
    ],
)
def test_an_output_without_vectors_is_refused(models, output_key, found):
    with pytest.raises(InputError, match=found):
        HubEncoder(models / "several", output_key=output_key)


def test_an_output_for_all_texts_together_is_refused(tmp_path):
    class Mean(Counts):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, texts):
            return tf.cast(tf.strings.length(texts), tf.float32)[None, :2]

    tf.saved_model.save(Mean(), tmp_path)
    with pytest.raises(InputError, match=r"For 3 texts it returns \[1, 2\]"):
        HubEncoder(tmp_path)


def test_a_list_of_outputs_is_refused(tmp_path):
    class Both(Counts):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, texts):
            return [tf.strings.length(texts), tf.strings.length(texts)]

    tf.saved_model.save(Both(), tmp_path)
    with pytest.raises(InputError, match=r"must return vectors .* It returns list\."):
        HubEncoder(tmp_path)


def test_a_model_that_does_not_take_strings_is_refused(models):
    with pytest.raises(InputError, match=r"product does not take strings.*preprocessor="):
        HubEncoder(models / "product", output_key="default")


@pytest.mark.parametrize("name, found", [("signatures", "embed, embed_all"), ("empty", "none")])
def test_a_signature_must_be_one_of_the_models(models, name, found):
    words = f"{name} has no signature '{{}}'. Give one of those it has as signature=: {found}."
    with pytest.raises(InputError, match=words.format("other")):
        HubEncoder(models / name, signature="other")
    with pytest.raises(InputError, match=words.format("serving_default")):
        HubEncoder(models / name)


def test_one_string_is_not_a_sequence_of_texts(whole):
    with pytest.raises(ValueError, match="must be a sequence of strings.*'film'"):
        whole.encode("film")


def test_the_missing_package_is_named(monkeypatch, models):
    monkeypatch.setitem(sys.modules, "tensorflow_hub", None)
    with pytest.raises(MissingExtraError, match=r"HubEncoder needs `tensorflow-hub`.*\[hub\]"):
        HubEncoder(models / "whole")
