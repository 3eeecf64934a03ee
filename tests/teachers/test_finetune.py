"""Fine-tuning a tiny BERT: which weights change, and that the teacher then uses the new ones."""

import numpy as np
import pytest
import tensorflow as tf
from nightly import nightly
from tiny_bert import bert_in_numpy, wordpieces, write_tiny_bert
from tiny_data import windows_from, with_dislikes, with_weights

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.bert_two_tower import BertTwoTower
from tfrs_distill.teachers.bert.finetune import finetune
from tfrs_distill.teachers.bert.parameter_efficient import BottleneckAdapters, LoRA, PrefixVectors
from tfrs_distill.teachers.bert.parameter_efficient.attached import AddedLayer
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.trained_layers import AllLayers, TopLayers

EVEN, ODD = "galaxy space rocket planet".split(), "wedding love kiss bride".split()
# The first texts are the longest: the order of reading is not the catalogue's.
TEXTS = tuple(f"{(EVEN, ODD)[item % 2][item // 2 % 4]} {13 - item}" for item in range(1, 13))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write_tiny_bert(folder)
    return folder


@pytest.fixture
def encoder(folder):
    return TextEncoder(folder)


@pytest.fixture(scope="module")
def windows():
    """Even items follow even ones, odd ones odd ones."""
    random = np.random.default_rng(0)
    sequences = [2 * random.permutation(6)[:5] + 1 + user % 2 for user in range(8)]
    return windows_from(sequences, num_items=12, max_history=4, texts=TEXTS)


@pytest.fixture
def eagerly():
    """A few eager steps are faster than tracing."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def teacher_of(encoder, dropout=0.0):
    vectors = encoder.encode(TEXTS)
    return BertTwoTower(vectors, max_history=4, embedding_dim=8, dropout=dropout, seed=0)


def weights_of(encoder):
    """The encoder's weights by name, without the pooler."""
    found = {v.name.split("/", 1)[1]: v.numpy() for v in encoder.model.weights if "/" in v.name}
    return {name: value for name, value in found.items() if "pooler" not in name}


@pytest.mark.parametrize(
    "tuning, rate, trained",
    [
        nightly(TopLayers(1), 2e-3, "layer_._1/"),
        nightly(AllLayers(), 2e-3, "/"),
        (LoRA(rank=4), 2e-2, None),
        nightly(BottleneckAdapters(width=4), 1e-2, "layer_._.*LayerNorm"),
        nightly(PrefixVectors(length=4), 5e-2, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_loss_decreases_and_only_tuned_weights_change(encoder, windows, tuning, rate, trained):
    teacher, steps = teacher_of(encoder), []
    before, vectors = weights_of(encoder), encoder.encode(TEXTS)
    ids = teacher.candidate_tower.id_embeddings.numpy()
    done = finetune(
        teacher,
        encoder,
        windows,
        tuning=tuning,
        num_steps=40,
        learning_rate=rate,
        tower_learning_rate=2e-2,
        chunk_size=8,
        advance=steps.append,
    )
    assert len(done.losses) == 40 and steps == [1] * 40
    assert np.mean(done.losses[-5:]) < 0.8 * np.mean(done.losses[:5])
    after = weights_of(encoder)
    assert after.keys() == before.keys()
    for name, value in before.items():
        moves = trained is not None and all(part in name for part in trained.split(".*"))
        if not moves:
            np.testing.assert_array_equal(after[name], value, err_msg=name)
        elif (
            "key/bias" not in name and "position" not in name
        ):  # softmax does not depend on a key's bias
            assert abs(after[name] - value).max() > 1e-4, name
    assert abs(teacher.candidate_tower.id_embeddings.numpy() - ids).max() > 1e-3
    # Afterwards the teacher's text vectors are the tuned encoder's, and new ones.
    fresh = encoder.encode(TEXTS)
    np.testing.assert_array_equal(teacher.candidate_tower.item_text_vectors(), fresh)
    assert abs(fresh - vectors).max() > 1e-2
    if done.attached is None:
        stack = "encoder/" if isinstance(tuning, TopLayers) else ""
        chosen = [v for name, v in before.items() if trained in name and stack in name]
        assert done.num_parameters == sum(value.size for value in chosen)
    else:
        assert done.num_parameters == done.attached.num_parameters
        done.attached.detach()
        np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)


def test_the_first_loss_is_the_frozen_teachers(encoder, windows, eagerly):
    # All items and all windows are used, so the sampled cross-entropy is the complete one.
    teacher = teacher_of(encoder)
    teacher.candidate_tower.biases.assign(tf.linspace(-1.0, 1.0, 13))
    teacher.compile(run_eagerly=True)
    expected = teacher.evaluate(windows.batches(8), verbose=0)
    for tuning, chunk_size in ((TopLayers(1), 128), (LoRA(), 5)):
        done = finetune(
            teacher_with(teacher, encoder),
            TextEncoder(encoder.folder),
            windows,
            tuning=tuning,
            num_steps=1,
            chunk_size=chunk_size,
        )
        np.testing.assert_allclose(done.losses, [expected], rtol=1e-5)


def test_the_first_loss_is_weighted_by_the_labels_weights(encoder, windows, eagerly):
    teacher, weighted = teacher_of(encoder), with_weights(windows)
    batch = next(iter(windows.batches(8)))
    logits = np.float64(teacher.logits(batch, tf.range(1, 13)))
    labels = windows.labels[windows.labels > 0] - 1
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    expected = np.average(losses, weights=weighted.weights[weighted.labels > 0])
    start = teacher.get_weights()
    done = finetune(teacher, encoder, weighted, tuning=TopLayers(1), num_steps=1)
    np.testing.assert_allclose(done.losses, [expected], rtol=1e-5)
    assert abs(expected - losses.mean()) > 1e-3
    teacher, signed = teacher_of(encoder), with_dislikes(weighted)
    teacher.set_weights(start)
    weights = signed.weights[signed.labels > 0]
    losses = np.where(weights < 0, -np.log1p(-np.exp(-losses)), losses)
    done = finetune(teacher, TextEncoder(encoder.folder), signed, tuning=TopLayers(1), num_steps=1)
    np.testing.assert_allclose(
        done.losses, [np.average(losses, weights=np.abs(weights))], rtol=1e-5
    )


def teacher_with(teacher, encoder):
    """A copy, because fine-tuning changes the towers."""
    copy = teacher_of(encoder)
    copy.set_weights(teacher.get_weights())
    return copy


def test_a_loss_over_sampled_items_only(encoder, windows, eagerly):
    # Of an untrained teacher without embeddings, ln(items read): 4 windows of one parity have at
    # most 6 items, one more negative makes at most 7 of 12.
    teacher = BertTwoTower(np.zeros((12, 16)), max_history=4, embedding_dim=8, dropout=0.0, seed=0)
    teacher.candidate_tower.id_embeddings.assign(tf.zeros([13, 8]))
    teacher.candidate_tower.projection.kernel.assign(tf.zeros([16, 8]))
    even = windows.subset(windows.users % 2 == 0)
    (loss,) = finetune(
        teacher, encoder, even, tuning=TopLayers(1), num_steps=1, batch_size=4, num_negatives=1
    ).losses
    read = np.exp(loss)
    assert round(read) in (6, 7) and abs(read - round(read)) < 1e-3


@pytest.mark.nightly
def test_chunks_of_any_size_train_the_same(folder, windows, eagerly):
    def trained(tuning, chunk_size):
        encoder = TextEncoder(folder)
        teacher = teacher_of(encoder, dropout=0.3)
        arguments = {"tuning": tuning, "num_steps": 2, "batch_size": 3, "num_negatives": 4}
        losses = finetune(teacher, encoder, windows, chunk_size=chunk_size, **arguments).losses
        return losses, encoder.encode(TEXTS)

    for tuning in (TopLayers(2), LoRA()):
        losses, vectors = trained(tuning, 100)
        again, vectors_again = trained(tuning, 4)
        np.testing.assert_allclose(again, losses, rtol=1e-5)
        np.testing.assert_allclose(vectors_again, vectors, atol=2e-5)


def test_the_texts_dropout_is_the_towers(folder, windows, eagerly):
    losses = []
    for rate in (0.0, 0.5):
        encoder = TextEncoder(folder)
        teacher = teacher_of(encoder)
        teacher.candidate_tower.dropout.rate = rate
        losses += finetune(teacher, encoder, windows, tuning=TopLayers(1), num_steps=1).losses
    assert abs(losses[1] - losses[0]) > 1e-3


def test_a_layers_first_step_is_its_share_of_the_learning_rate(encoder, windows, eagerly):
    # Adam's first step is rate * g / (|g| + 1e-7): its largest entry is the rate itself.
    before = weights_of(encoder)
    finetune(
        teacher_of(encoder),
        encoder,
        windows,
        tuning=AllLayers(layer_decay=0.5),
        num_steps=1,
        learning_rate=1e-3,
        warmup_share=0.0,
    )
    after = weights_of(encoder)
    for part, rate in (("embeddings", 2.5e-4), ("layer_._0", 5e-4), ("layer_._1", 1e-3)):
        moved = [abs(after[name] - before[name]).max() for name in before if part in name]
        np.testing.assert_allclose(max(moved), rate, rtol=1e-2)  # float32 of weights near 1


def test_warm_up_and_decay_determine_the_size_of_the_steps(encoder, windows, eagerly):
    # Two steps of warm-up: 1e-3 / 2 first; towers follow their own peak.
    teacher = teacher_of(encoder)
    before, biases = weights_of(encoder), teacher.candidate_tower.biases.numpy()

    class StopAfterOne(Exception):
        pass

    def stop(steps):
        raise StopAfterOne

    with pytest.raises(StopAfterOne):
        finetune(
            teacher,
            encoder,
            windows,
            tuning=TopLayers(1),
            num_steps=4,
            learning_rate=1e-3,
            tower_learning_rate=4e-3,
            warmup_share=0.5,
            advance=stop,
        )
    after = weights_of(encoder)
    moved = max(abs(after[name] - before[name]).max() for name in before)
    np.testing.assert_allclose(moved, 5e-4, rtol=1e-2)
    moved = abs(teacher.candidate_tower.biases.numpy() - biases).max()
    np.testing.assert_allclose(moved, 2e-3, rtol=1e-2)


@pytest.mark.nightly
def test_weight_decay_applies_to_matrices_alone(folder, windows, eagerly):
    def trained(weight_decay):
        encoder = TextEncoder(folder)
        arguments = {"tuning": TopLayers(1), "num_steps": 1, "warmup_share": 0.0}
        finetune(
            *(teacher_of(encoder), encoder, windows),
            **arguments,
            learning_rate=1e-3,
            weight_decay=weight_decay,
        )
        return weights_of(encoder)

    before, plain, decayed = weights_of(TextEncoder(folder)), trained(0.0), trained(10.0)
    for name in before:
        if "layer_._1" in name and before[name].ndim == 2:
            # rate * decay = .01 of the weight before the step.
            np.testing.assert_allclose(
                decayed[name] - plain[name], -0.01 * before[name], rtol=1e-2, atol=1e-5
            )
        else:
            np.testing.assert_allclose(decayed[name], plain[name], atol=1e-7)


def test_the_trained_weights_work_in_a_bert(encoder, windows, tmp_path, eagerly):
    """The trained weights, in the NumPy BERT, give the teacher's text vectors."""
    teacher = teacher_of(encoder)
    finetune(teacher, encoder, windows, tuning=TopLayers(1), num_steps=3, learning_rate=1e-2)
    weights = write_tiny_bert(tmp_path / "same")
    top = encoder.model.bert.encoder.layer[-1]
    for weight in top.weights:
        name = weight.name.split("layer_._1/")[1].removesuffix(":0")
        name = name.replace("/", ".").replace("kernel", "weight")
        name = name.replace("gamma", "weight").replace("beta", "bias")
        value = weight.numpy()
        key = f"encoder.layer.1.{name}"
        assert weights[key].shape == value.T.shape
        weights[key] = value.T
    for text, vector in zip(TEXTS, teacher.candidate_tower.item_text_vectors()):
        mean = bert_in_numpy(weights, wordpieces(tmp_path / "same", text)).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


class Interrupted(BaseException):
    pass


@pytest.mark.nightly
def test_an_interrupted_training_continues_as_without_interruption(
    folder, windows, tmp_path, eagerly
):
    def trained(name, stop_after=None):
        encoder, steps = TextEncoder(folder), []
        teacher = teacher_of(encoder, dropout=0.3)

        def advance(count):
            steps.append(count)
            if sum(steps) == stop_after:
                raise Interrupted

        try:
            done = finetune(
                *(teacher, encoder, windows),
                tuning=LoRA(),
                num_steps=9,
                batch_size=3,
                num_negatives=3,
                learning_rate=1e-2,
                checkpoint_folder=None if name is None else tmp_path / name,
                checkpoint_every=2,
                advance=advance,
            )
        except Interrupted:
            assert not any(isinstance(part, AddedLayer) for part in encoder.model.submodules)
            return None
        return done.losses, encoder.encode(TEXTS), teacher.get_weights(), steps

    losses, vectors, weights, _ = trained(None)
    for stop_after in (5, 8):  # 1 step after a checkpoint; right at one, in the third epoch
        trained("state", stop_after)
    again, vectors_again, weights_again, steps = trained("state")
    assert steps == [8, 1]
    np.testing.assert_allclose(again, losses, rtol=1e-5)
    np.testing.assert_allclose(vectors_again, vectors, atol=2e-5)
    for found, expected in zip(weights_again, weights):
        np.testing.assert_allclose(found, expected, atol=2e-5)
    # Once more: nothing is left to do, and the result is the same.
    once_more, vectors_once_more, _, steps = trained("state")
    assert steps == [9] and once_more == again
    np.testing.assert_allclose(vectors_once_more, vectors_again, atol=1e-6)


@pytest.mark.nightly
def test_the_state_of_another_training_is_refused(folder, windows, tmp_path, eagerly):
    def train(**arguments):
        encoder = arguments.pop("encoder", None) or TextEncoder(folder)
        arguments = {"tuning": TopLayers(1), "num_steps": 1, "batch_size": 4} | arguments
        finetune(
            *(teacher_of(encoder), encoder, arguments.pop("windows", windows)),
            checkpoint_folder=tmp_path / "state",
            **arguments,
        )
        return encoder

    trained = train()
    write_tiny_bert(tmp_path / "other", seed=1)
    for changed, words in (
        ({"tuning": TopLayers(2)}, r"tuning was 'TopLayers\(num_layers=1\)' and is"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"learning_rate": 1e-3}, "learning_rate was 5e-05 and is 0.001"),
        ({"windows": windows.subset(windows.users > 1)}, "windows was "),
        ({"encoder": TextEncoder(tmp_path / "other")}, "encoder was "),
        ({"encoder": trained}, "encoder was .*freshly loaded encoder"),
        ({"encoder": TextEncoder(folder, max_length=64)}, "max_length was 128 and is 64"),
    ):
        with pytest.raises(InputError, match=words):
            train(**changed)
    train(chunk_size=3)  # arguments that do not change the result may differ


@pytest.mark.nightly
def test_seed_fixes_the_losses(folder, windows, eagerly):
    def losses(seed):
        encoder = TextEncoder(folder)
        arguments = {"tuning": TopLayers(1), "num_steps": 3, "batch_size": 2, "num_negatives": 2}
        teacher = teacher_of(encoder, dropout=0.2)
        return finetune(teacher, encoder, windows, seed=seed, **arguments).losses

    first = losses(1)
    np.testing.assert_allclose(losses(1), first, rtol=1e-6)
    assert abs(np.subtract(losses(2), first)).max() > 1e-3


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"tuning": TopLayers(3)}, "within 1 to 2, the encoder's layers.*num_layers=3"),
        ({"batch_size": 0}, r"`batch_size` must be a whole.*Received: batch_size=0"),
        ({"chunk_size": 0}, "`chunk_size` must be a whole"),
        ({"checkpoint_every": 0}, "`checkpoint_every` must be a whole"),
        ({"num_negatives": -1}, "`num_negatives` must be a whole number of at least 0"),
        ({"num_steps": 0}, "`num_steps` must be a whole"),
        ({"learning_rate": 0.0}, r"learning rate must be greater than 0.*learning_rate=0\.0"),
        ({"tower_learning_rate": -1.0}, "learning rate must be greater than 0"),
        ({"warmup_share": 1.0}, "`warmup_share` must be at least 0 and below 1"),
        ({"weight_decay": -0.1}, r"`weight_decay` must be at least 0.*weight_decay=-0\.1"),
    ],
)
def test_wrong_arguments_are_refused(encoder, windows, arguments, words):
    teacher = BertTwoTower(np.zeros((12, 16)), max_history=4, embedding_dim=8, seed=0)
    with pytest.raises(ValueError, match=words):
        finetune(teacher, encoder, windows, **arguments)


def test_incompatible_models_are_refused(encoder, windows):
    teacher = BertTwoTower(np.zeros((12, 16)), max_history=5, embedding_dim=8, seed=0)
    with pytest.raises(ValueError, match="windows hold 4 items, but the teacher reads .* of 5"):
        finetune(teacher, encoder, windows)
    LoRA().attach(encoder)
    with pytest.raises(
        ValueError, match="already has added layers, so it cannot be tuned with AllL"
    ):
        finetune(teacher, encoder, windows, tuning=AllLayers())
