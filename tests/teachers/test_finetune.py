"""Fine-tuning a tiny BERT: what learns, what stays, and that the teacher then reads the new one."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import bert_in_numpy, wordpieces, write_tiny_bert
from tiny_data import windows_from

from tfrs_distill.teachers import BertTwoTower, TextEncoder, finetune
from tfrs_distill.teachers.finetune import BertTop

EVEN, ODD = "galaxy space rocket planet".split(), "wedding love kiss bride".split()
TEXTS = tuple(f"{(EVEN if item % 2 == 0 else ODD)[item // 2 % 4]} {item}" for item in range(1, 13))
NUM_LAYERS = 3


@pytest.fixture
def encoder(tmp_path):
    write_tiny_bert(tmp_path / "bert", num_layers=NUM_LAYERS)
    return TextEncoder(tmp_path / "bert")


@pytest.fixture
def windows():
    """Even items follow even ones, odd ones odd ones."""
    random = np.random.default_rng(0)
    sequences = [2 * random.permutation(6)[:5] + 1 + user % 2 for user in range(8)]
    return windows_from(sequences, num_items=12, max_history=4, texts=TEXTS)


def teacher_of(encoder):
    return BertTwoTower(encoder.encode(TEXTS), max_history=4, embedding_dim=8, dropout=0.0, seed=0)


def layers_of(encoder):
    """The weights of every layer, lowest first, then of all the rest of the model."""
    core = encoder.model.bert
    stacks = [[w.numpy() for w in layer.weights] for layer in core.encoder.layer]
    return stacks, [w.numpy() for w in core.embeddings.weights]


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_loss_falls_and_only_the_top_layers_change(encoder, windows, num_layers):
    teacher = teacher_of(encoder)
    (before, embeddings), ids = layers_of(encoder), teacher.candidate_tower.id_embeddings.numpy()
    vectors = encoder.encode(TEXTS)
    steps = []
    losses = finetune(
        teacher,
        encoder,
        windows,
        num_layers=num_layers,
        num_steps=40,
        batch_size=8,
        learning_rate=2e-3,
        advance=steps.append,
    )
    assert len(losses) == len(steps) == 40 and set(steps) == {1}
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    after, embeddings_after = layers_of(encoder)
    for place in range(NUM_LAYERS):
        moved = [abs(a - b).max() for a, b in zip(after[place], before[place])]
        if place < NUM_LAYERS - num_layers:
            assert max(moved) == 0.0
        else:
            assert np.median(moved) > 1e-3
    for a, b in zip(embeddings_after, embeddings):
        np.testing.assert_array_equal(a, b)
    assert abs(teacher.candidate_tower.id_embeddings.numpy() - ids).max() > 1e-3
    # Afterwards the teacher's text vectors are the trained encoder's, and new ones.
    fresh = encoder.encode(TEXTS)
    np.testing.assert_allclose(teacher.candidate_tower.item_text_vectors(), fresh, atol=1e-5)
    assert abs(fresh - vectors).max() > 1e-2


def test_the_first_loss_is_the_frozen_teachers_own(encoder, windows):
    # All items are read and all windows taken, so the sampled cross-entropy is the whole one.
    teacher = teacher_of(encoder)
    teacher.candidate_tower.biases.assign(tf.linspace(-1.0, 1.0, 13))
    teacher.compile(run_eagerly=True)
    expected = teacher.evaluate(windows.batches(8), verbose=0)
    losses = finetune(teacher, encoder, windows, num_layers=1, num_steps=1, batch_size=8)
    np.testing.assert_allclose(losses, [expected], rtol=1e-5)


def test_a_loss_among_sampled_items_only(encoder, windows):
    # Of an untrained teacher without embeddings, ln(items read): 4 windows of one parity hold at
    # most 6 items, one negative more makes at most 7 of 12.
    teacher = BertTwoTower(np.zeros((12, 16)), max_history=4, embedding_dim=8, dropout=0.0, seed=0)
    teacher.candidate_tower.id_embeddings.assign(tf.zeros([13, 8]))
    teacher.candidate_tower.projection.kernel.assign(tf.zeros([16, 8]))
    even = windows.subset(windows.users % 2 == 0)
    (loss,) = finetune(
        teacher, encoder, even, num_layers=1, num_steps=1, batch_size=4, num_negatives=1
    )
    read = np.exp(loss)
    assert round(read) in (6, 7) and abs(read - round(read)) < 1e-3


def test_top_vectors_are_the_encoders_before_training(encoder):
    top = BertTop(encoder, TEXTS, 2)
    chosen = tf.constant([5, 1, 12])
    np.testing.assert_allclose(
        top.vectors(chosen, training=False), encoder.encode(TEXTS)[[4, 0, 11]], atol=1e-5
    )
    assert len(top.trainable_variables) == 2 * 16  # 6 dense layers and 2 normalisations a layer


def test_the_trained_bert_still_does_what_a_bert_does(encoder, windows, tmp_path):
    """The weights that come out, put into the NumPy BERT, give the teacher's text vectors."""
    teacher = teacher_of(encoder)
    finetune(teacher, encoder, windows, num_layers=1, num_steps=5, learning_rate=1e-3)
    weights = write_tiny_bert(tmp_path / "same", num_layers=NUM_LAYERS)
    top = encoder.model.bert.encoder.layer[-1]
    for weight in top.weights:
        name = weight.name.split(f"layer_._{NUM_LAYERS - 1}/")[1].removesuffix(":0")
        name = name.replace("/", ".").replace("kernel", "weight")
        name = name.replace("gamma", "weight").replace("beta", "bias")
        value = weight.numpy()
        key = f"encoder.layer.{NUM_LAYERS - 1}.{name}"
        assert weights[key].shape == value.T.shape
        weights[key] = value.T
    for text, vector in zip(TEXTS, teacher.candidate_tower.item_text_vectors()):
        mean = bert_in_numpy(weights, wordpieces(tmp_path / "same", text)).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_seed_fixes_the_losses(tmp_path, windows):
    def losses(seed):
        write_tiny_bert(tmp_path / "bert")
        encoder = TextEncoder(tmp_path / "bert")
        # All items are negatives: the step has one shape, and is traced once.
        arguments = {"num_layers": 1, "num_steps": 3, "batch_size": 2}
        return finetune(teacher_of(encoder), encoder, windows, seed=seed, **arguments)

    first = losses(1)
    np.testing.assert_allclose(losses(1), first, rtol=1e-6)
    assert abs(np.subtract(losses(2), first)).max() > 1e-3


@pytest.mark.parametrize("num_layers", [0, NUM_LAYERS + 1])
def test_the_number_of_layers_is_checked(encoder, windows, num_layers):
    with pytest.raises(ValueError, match=rf"within 1 to 3, the encoder's layers.*={num_layers}"):
        finetune(teacher_of(encoder), encoder, windows, num_layers=num_layers)


def test_a_model_without_a_stack_of_layers_is_refused(encoder):
    class Other:
        model = tf.keras.Sequential()

    Other.model.base_model_prefix = "nothing"
    with pytest.raises(ValueError, match=r"stack of layers at `\.encoder\.layer`.*Received: Sequ"):
        BertTop(Other(), TEXTS, 1)
