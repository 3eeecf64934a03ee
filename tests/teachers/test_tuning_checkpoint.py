"""A training's state on disk: complete, newest, and of this training only."""

import pytest
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.resumable_training import TuningCheckpoint


def test_the_last_state_is_restored(tmp_path):
    first, optimizer = tf.Variable([1.0, 2.0]), tf.keras.optimizers.Adam(0.1)
    optimizer.build([first])
    checkpoint = TuningCheckpoint(tmp_path / "a", {"steps": 3, "kind": ("x",)})
    checkpoint.restore(variables=[first], optimizers=[optimizer])
    for step in (1, 2):
        optimizer.apply_gradients([(tf.constant([1.0, -1.0]), first)])
        checkpoint.save(step)
    kept = [first.numpy(), *(v.numpy() for v in optimizer.variables)]
    optimizer.apply_gradients([(tf.constant([1.0, -1.0]), first)])

    second, other = tf.Variable([0.0, 0.0]), tf.keras.optimizers.Adam(0.1)
    other.build([second])
    again = TuningCheckpoint(tmp_path / "a", {"kind": ("x",), "steps": 3})
    again.restore(variables=[second], optimizers=[other])
    for found, expected in zip([second, *other.variables], kept):
        assert (found.numpy() == expected).all()
    assert int(other.iterations) == 2
    # One state is kept: its data, its index, TensorFlow's note of it, and its training's settings.
    assert len(list((tmp_path / "a").iterdir())) == 4


def test_another_trainings_state_is_refused_before_reading(tmp_path):
    variable = tf.Variable(1.0)
    checkpoint = TuningCheckpoint(tmp_path, {"steps": 3, "seed": 1})
    checkpoint.restore(variables=[variable])
    checkpoint.save(1)
    with pytest.raises(InputError, match="another training: seed was 1 and is 2, steps was 3 and "):
        TuningCheckpoint(tmp_path, {"steps": 4, "seed": 2})
    with pytest.raises(InputError, match="rate was None and is 0.1"):
        TuningCheckpoint(tmp_path, {"steps": 3, "seed": 1, "rate": 0.1})


def test_a_damaged_note_is_named(tmp_path):
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(InputError, match="training.json is damaged"):
        TuningCheckpoint(tmp_path, {})


def test_nothing_is_written_before_the_training_is_ready(tmp_path):
    TuningCheckpoint(tmp_path / "a", {"steps": 3})
    assert not (tmp_path / "a").exists()


def test_a_damaged_state_is_named(tmp_path):
    checkpoint = TuningCheckpoint(tmp_path, {})
    checkpoint.restore(variables=[tf.Variable([1.0] * 64)])
    checkpoint.save(1)
    (data,) = tmp_path.glob("*.data-*")
    data.write_bytes(bytes(byte ^ 1 for byte in data.read_bytes()))
    with pytest.raises(InputError, match="The state of the training in .* is damaged"):
        TuningCheckpoint(tmp_path, {}).restore(variables=[tf.Variable([0.0] * 64)])
    (tmp_path / "training.json").write_bytes(b"\xff")
    with pytest.raises(InputError, match="training.json is damaged"):
        TuningCheckpoint(tmp_path, {})
