"""Saving, loading and continuing after a kill: the next steps equal those without a break."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tiny_data

import tfrs_distill as td
from tfrs_distill.distiller import Distiller, LossRatioBalance, Schedule
from tfrs_distill.losses import HiddenRepresentationDistillation, SoftTargetKLDivergence
from tfrs_distill.models import Candidates, RetrievalStudent

NUM_ITEMS, MAX_HISTORY, STUDENT_DIM, TEACHER_DIM = 12, 5, 4, 6
TEXT_DIM = 2003  # a width that nothing else has, and a table larger than the complete student
CANDIDATES = Candidates(
    "batch", remove_accidental_hits=False, exclude_seen=True, num_hard_negatives=7
)


def windows():
    return tiny_data.random_windows(num_users=16, num_items=NUM_ITEMS, max_history=MAX_HISTORY)


def batches():
    return windows().batches(8)  # in order, so that every run sees the same


def new_teacher():
    text = np.random.default_rng(0).normal(size=(NUM_ITEMS, TEXT_DIM)).astype(np.float32)
    return td.teachers.BertTwoTower(
        text, max_history=MAX_HISTORY, embedding_dim=TEACHER_DIM, seed=0
    )


def new_student(candidates=CANDIDATES, seed=1):
    return RetrievalStudent.from_history(
        num_items=NUM_ITEMS,
        max_history=MAX_HISTORY,
        embedding_dim=STUDENT_DIM,
        candidates=candidates,
        seed=seed,
        name="pupil",
    )


def new_distiller(teacher, student=None):
    """Two losses of logits and one of hidden representations; no argument has its default."""
    distiller = Distiller(
        student or new_student(),
        teacher,
        [
            SoftTargetKLDivergence(temperature=2.5, name="soft"),
            tf.keras.losses.MeanAbsoluteError(name="absolute"),
            HiddenRepresentationDistillation(
                "query_embeddings", "query_embeddings", loss="cosine", name="hidden"
            ),
        ],
        [0.75, 0.125, 0.5],
        student_loss_weight=0.375,
        agreement_k=3,
        name="master",
    )
    distiller.compile(
        optimizer=tf.keras.optimizers.Adam(0.03, beta_1=0.8, beta_2=0.9, clipnorm=0.7),
        metrics=[tf.keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top_2")],
    )
    return distiller


def numbers(distiller):
    """The trained values, student's first, and the values that a callback may change."""
    return [
        *distiller.trainable_variables,
        *distiller.student_loss_weights.values(),
        *distiller.distillation_loss_weights.values(),
        *distiller.temperatures.values(),
    ]


def state(distiller):
    """Every number that the next step depends on, the optimizer's included."""
    return [v.numpy() for v in (*numbers(distiller), *distiller.optimizer.variables)]


def fit(distiller, **arguments):
    history = distiller.fit(batches(), verbose=0, **arguments).history
    return SimpleNamespace(logs=history, state=state(distiller))


def assert_equal_bits(one, other):
    assert len(one) == len(other)
    for mine, yours in zip(one, other):
        np.testing.assert_array_equal(mine, yours)


def datasets(store):
    """Arrays of an h5 file, or of the weights inside a `.keras` file, by path."""
    if str(store).endswith(".keras"):
        store = io.BytesIO(zipfile.ZipFile(store).read("model.weights.h5"))
    found = {}
    with h5py.File(store) as file:
        file.visititems(
            lambda path, item: found.update({path: item[()]} if hasattr(item, "shape") else {})
        )
    return found


def assert_no_teacher(arrays, student):
    """The student's item table is in the file; nothing of the teacher is."""
    student_table = student.candidate_tower.id_embeddings.numpy()
    assert any(np.array_equal(array, student_table) for array in arrays)
    # Widths that only the teacher's tables and layers have; the projector is [5, 7].
    teachers_own = {TEXT_DIM, TEACHER_DIM, 4 * TEACHER_DIM}
    for array in arrays:
        assert not teachers_own & set(array.shape)


@pytest.fixture(scope="module")
def teacher():
    return new_teacher()


@pytest.fixture(scope="module")
def run(tmp_path_factory, teacher):
    """A distiller trained for an epoch, saved, and trained further; and the loaded one."""
    path = tmp_path_factory.mktemp("saved") / "distiller.keras"
    distiller = new_distiller(teacher)
    distiller.loss_terms(next(iter(batches())), training=False)  # creates the projector
    batches_an_epoch = len(list(batches()))
    first_projector = distiller.distillation_losses["hidden"].projector.kernel.numpy()
    fit(distiller)
    for name, weight in {"soft": 0.625, "absolute": 0.25, "hidden": 0.5625}.items():
        distiller.distillation_loss_weights[name].assign(weight)  # as a callback would
    distiller.student_loss_weights["next_item"].assign(0.4375)
    distiller.temperatures["soft"].assign(1.75)
    distiller.save(path)
    checkpoint = tf.train.Checkpoint(model=distiller).save(path.with_name("checkpoint"))
    at_save = SimpleNamespace(
        state=state(distiller),
        config=distiller.get_config(),
        projector=distiller.distillation_losses["hidden"].projector.kernel.numpy(),
    )
    loaded = tf.keras.models.load_model(path)
    as_loaded = state(loaded)
    loaded.set_teacher(teacher)
    # The loaded one first: its first step must be this, in any order of tests.
    after_load = fit(loaded, epochs=2, validation_data=batches())
    after_no_save = fit(distiller, epochs=2, validation_data=batches())
    return SimpleNamespace(**locals())


def test_save_load_fit_gives_the_same_next_steps_as_no_save(run):
    assert run.after_load.logs == run.after_no_save.logs
    assert "val_agreement@3" in run.after_load.logs and "top_2" in run.after_load.logs
    assert_equal_bits(run.after_load.state, run.after_no_save.state)


def test_loaded_weights_optimizer_slots_and_variables_are_the_saved_ones(run):
    assert_equal_bits(run.as_loaded, run.at_save.state)
    assert int(run.loaded.optimizer.iterations) == 3 * run.batches_an_epoch


def test_the_steps_after_loading_move_every_weight(run):
    trained = len(run.loaded.trainable_variables)
    for after, before in zip(run.after_load.state[:trained], run.at_save.state):
        assert np.abs(after - before).max() > 1e-4


def test_arguments_are_restored_by_value_and_type(run):
    loaded = run.loaded
    assert isinstance(loaded, Distiller) and isinstance(loaded.student, RetrievalStudent)
    assert (loaded.name, loaded.student.name, loaded.agreement_k) == ("master", "pupil", 3)
    assert loaded.student.candidates == CANDIDATES
    losses = loaded.distillation_losses
    assert list(losses) == ["soft", "absolute", "hidden"]
    assert isinstance(losses["soft"], SoftTargetKLDivergence)
    assert isinstance(losses["absolute"], tf.keras.losses.MeanAbsoluteError)
    assert isinstance(losses["hidden"], HiddenRepresentationDistillation)
    assert losses["hidden"].loss == "cosine"
    assert {n: float(w) for n, w in loaded.distillation_loss_weights.items()} == {
        "soft": 0.625,
        "absolute": 0.25,
        "hidden": 0.5625,
    }
    assert float(loaded.student_loss_weights["next_item"]) == 0.4375
    assert {name: float(t) for name, t in loaded.temperatures.items()} == {"soft": 1.75}
    assert losses["soft"].temperature is loaded.temperatures["soft"]
    optimizer = loaded.optimizer.get_config()
    kept = [round(float(optimizer[name]), 6) for name in ("learning_rate", "beta_1", "clipnorm")]
    assert kept == [0.03, 0.8, 0.7]


def test_the_projector_is_trained_and_saved_but_not_part_of_the_student(run, tmp_path):
    assert np.abs(run.at_save.projector - run.first_projector).max() > 1e-3
    saved = datasets(run.path)
    assert any(np.array_equal(array, run.at_save.projector) for array in saved.values())

    student = run.loaded.student
    shape = (STUDENT_DIM + 1, TEACHER_DIM + 1)  # embeddings with the bias appended
    assert run.at_save.projector.shape == shape
    assert shape not in [tuple(weight.shape) for weight in student.weights]
    assert len(student.weights) == len(new_student().weights)
    student.save(tmp_path / "student.keras")
    assert shape not in [array.shape for array in datasets(tmp_path / "student.keras").values()]
    alone = tf.keras.models.load_model(tmp_path / "student.keras")
    assert type(alone) is RetrievalStudent
    np.testing.assert_array_equal(alone.catalogue_embeddings(), student.catalogue_embeddings())
    history = windows().history
    np.testing.assert_array_equal(
        alone.encode_histories(history), student.encode_histories(history)
    )


def test_the_file_does_not_hold_the_teacher(run, tmp_path, teacher):
    saved = datasets(run.path)
    # Saving again changes nothing: the student in the file is unchanged.
    table = next(v for v in saved.values() if v.shape == (NUM_ITEMS + 1, STUDENT_DIM))
    assert any(np.array_equal(table, array) for array in run.at_save.state)
    teachers_own = {TEXT_DIM, TEACHER_DIM, 4 * TEACHER_DIM}
    assert not any(teachers_own & set(array.shape) for array in saved.values())
    text_bytes = 4 * (NUM_ITEMS + 1) * TEXT_DIM
    assert run.path.stat().st_size < text_bytes
    assert str(TEXT_DIM) not in zipfile.ZipFile(run.path).read("config.json").decode()
    # The check works: a file of the teacher does have its tables.
    teacher.save(tmp_path / "teacher.keras")
    assert any(TEXT_DIM in array.shape for array in datasets(tmp_path / "teacher.keras").values())


def test_a_loaded_distiller_without_a_teacher_is_refused(run):
    loaded = tf.keras.models.load_model(run.path)
    assert loaded.teacher is None
    words = (
        r"The teacher of .* is missing: a saved distiller does not contain it. "
        r"Call `distiller.set_teacher\(teacher\)`"
    )
    before = state(loaded)
    for method in (loaded.fit, loaded.evaluate):
        with pytest.raises(ValueError, match=words):
            method(batches(), verbose=0)
    with pytest.raises(ValueError, match=words):
        loaded.train_on_batch(next(iter(batches())))
    assert_equal_bits(state(loaded), before)


def test_set_teacher_refuses_invalid_teachers(teacher):
    distiller = new_distiller(teacher)
    with pytest.raises(TypeError, match=r"`teacher` must have a method `logits\(batch, cand"):
        distiller.set_teacher(object())
    assert distiller.teacher is teacher  # the earlier one is kept


def test_config_round_trip_by_value_and_behaviour(run, teacher):
    config = run.at_save.config
    assert "teacher" not in config
    again = Distiller.from_config(config)
    own = again.get_config()
    soft, absolute, hidden = (
        (mine["config"], yours["config"])
        for mine, yours in zip(
            own.pop("distillation_losses")["next_item"], config["distillation_losses"]["next_item"]
        )
    )
    assert soft[0] == soft[1] == {"name": "soft", "reduction": "auto", "temperature": 1.75}
    assert hidden[0] == hidden[1] and hidden[0]["loss"] == "cosine"
    assert absolute[0]["name"] == absolute[1]["name"] == "absolute"  # added by Keras
    assert own == {name: config[name] for name in own}
    assert len(own) == len(config) - 1
    assert again.student is not run.distiller.student
    again.set_teacher(teacher)
    batch = next(iter(batches()))
    again.loss_terms(batch, training=False)  # creates the projector
    saved = tf.keras.models.load_model(run.path)
    saved.set_teacher(teacher)
    again.student.set_weights(saved.student.get_weights())
    parts = [d.distillation_losses["hidden"] for d in (again, saved)]
    parts[0].set_weights(parts[1].get_weights())
    terms = [d.loss_terms(batch, training=False) for d in (again, saved)]
    assert terms[0].keys() == terms[1].keys()
    for name, value in terms[0].items():
        assert float(value) == float(terms[1][name]), name


@pytest.mark.parametrize("name", ["state.weights.h5", "state"])
def test_saved_weights_hold_everything_but_the_teacher(run, teacher, tmp_path, name):
    saved = run.distiller
    saved.save_weights(tmp_path / name)
    if name.endswith("h5"):
        arrays = list(datasets(tmp_path / name).values())
    else:
        reader = tf.train.load_checkpoint(str(tmp_path / name))
        arrays = [reader.get_tensor(key) for key in reader.get_variable_to_shape_map()]
    assert_no_teacher([np.asarray(a) for a in arrays if np.ndim(a)], saved.student)
    other = new_distiller(teacher, new_student(seed=5))
    other.loss_terms(next(iter(batches())), training=False)  # creates the projector
    other.load_weights(tmp_path / name)
    assert_equal_bits([v.numpy() for v in numbers(other)], [v.numpy() for v in numbers(saved)])


def test_a_checkpoint_restores_the_next_steps_and_holds_no_teacher(run, teacher):
    reader = tf.train.load_checkpoint(run.checkpoint)
    arrays = [reader.get_tensor(key) for key in reader.get_variable_to_shape_map()]
    saved = tf.keras.models.load_model(run.path)
    assert_no_teacher([a for a in arrays if isinstance(a, np.ndarray)], saved.student)
    assert not any("teacher" in key for key in reader.get_variable_to_shape_map())
    other = new_distiller(teacher, new_student(seed=5))
    tf.train.Checkpoint(model=other).restore(run.checkpoint)
    after = fit(other, epochs=2)
    assert after.logs == {name: run.after_no_save.logs[name] for name in after.logs}
    assert_equal_bits(after.state, run.after_no_save.state)


def test_a_distiller_saved_before_its_first_step_can_be_trained(run, teacher, tmp_path):
    """Its projector does not exist yet: the optimizer must not be built without it."""
    distiller = new_distiller(teacher)
    with pytest.warns(UserWarning, match="not yet been built"):  # Keras' own
        distiller.save(tmp_path / "untrained.keras")
    loaded = tf.keras.models.load_model(tmp_path / "untrained.keras")
    loaded.set_teacher(teacher)
    loaded.run_eagerly = True  # avoids compiling a step that is taken once
    for _ in range(2):
        logs = loaded.train_on_batch(next(iter(batches())), return_dict=True)
    assert np.isfinite(logs["total_loss"])
    assert len(loaded.optimizer.variables) == len(run.distiller.optimizer.variables)


def test_without_projectors_nothing_is_missing_before_the_first_step(teacher, tmp_path, recwarn):
    """Keras does not warn of a model without weights; the loaded one has an optimizer for them."""
    distiller = Distiller(new_student(), teacher, SoftTargetKLDivergence())
    distiller.compile(optimizer="adam")
    distiller.save(tmp_path / "untrained.keras")
    assert not [str(w.message) for w in recwarn if "not yet been built" in str(w.message)]
    loaded = tf.keras.models.load_model(tmp_path / "untrained.keras")
    # Two slots of Adam per weight, plus the count of steps and the learning rate.
    assert len(loaded.optimizer.variables) >= 2 * len(loaded.trainable_variables) > 0
    assert_equal_bits(loaded.student.get_weights(), distiller.student.get_weights())


def test_a_plain_classifier_continues_after_loading(tmp_path):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(12, 3)).astype(np.float32)
    labels = random.integers(0, 4, 12)
    teacher = tf.keras.Sequential([tf.keras.layers.Dense(4, name="large")])
    student = tf.keras.Sequential([tf.keras.layers.Dense(4, input_shape=(3,), name="small")])
    distiller = Distiller(student, teacher, SoftTargetKLDivergence(3.0))
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.1, momentum=0.9))
    arguments = {"x": inputs, "y": labels, "batch_size": 4, "shuffle": False, "verbose": 0}
    distiller.fit(**arguments)
    distiller.save(tmp_path / "classifier.keras")
    saved = datasets(tmp_path / "classifier.keras").values()
    assert not any(np.array_equal(array, teacher.layers[0].kernel) for array in saved)
    assert any(np.array_equal(array, student.layers[0].kernel) for array in saved)
    loaded = tf.keras.models.load_model(tmp_path / "classifier.keras")
    loaded.set_teacher(teacher)
    logs = [model.fit(**arguments).history for model in (loaded, distiller)]
    assert logs[0] == logs[1]
    assert_equal_bits(state(loaded), state(distiller))


class KillAt(tf.keras.callbacks.Callback):
    """Kills this process, like a failing machine, before a step of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def train_with_backup(folder, *more):
    """Four epochs of scheduled and balanced training, continued from the folder's backup."""
    tf.keras.utils.set_random_seed(7)  # of the projector
    distiller = new_distiller(new_teacher())
    schedules = [
        Schedule("temperature", 5.0, 1.0, 10, curve="cosine", loss="soft"),
        Schedule("student_loss_weight", 1.0, 0.25, 10, curve="exponential"),
        LossRatioBalance(0.5, every=4),  # which no epoch of 3 steps has
    ]
    backup = tf.keras.callbacks.BackupAndRestore(str(folder))
    history = distiller.fit(batches(), epochs=4, verbose=0, callbacks=[*schedules, *more, backup])
    return distiller, history


@pytest.mark.nightly
def test_training_continues_after_a_kill(run, tmp_path):
    folder = tmp_path / "backup"
    command = (
        "import tfrs_distill, sys, test_distiller_resume as t; "
        "t.train_with_backup(sys.argv[1], t.KillAt(epoch=2, batch=1))"
    )
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    killed = subprocess.run(
        [sys.executable, "-c", command, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert any(folder.rglob("*.index"))  # the killed run left its backup

    resumed, history = train_with_backup(folder)
    assert history.epoch == [2, 3]
    whole, history_of_whole = train_with_backup(tmp_path / "other")
    assert history_of_whole.epoch == [0, 1, 2, 3]
    for name, values in history.history.items():
        assert values == history_of_whole.history[name][2:], name
    assert_equal_bits(state(resumed), state(whole))
    assert float(whole.distillation_loss_weights["soft"]) != 0.75  # it was balanced
    # The last step is number 4 * batches per epoch - 1, counted from 0, or past the schedule's end.
    step = min(4 * run.batches_an_epoch - 1, 10)
    cosine = 1.0 + (5.0 - 1.0) * (1.0 + np.cos(np.pi * step / 10)) / 2.0
    # Tolerance: the variables are float32.
    np.testing.assert_allclose(float(resumed.temperatures["soft"]), cosine, rtol=1e-6)
    np.testing.assert_allclose(
        float(resumed.student_loss_weights["next_item"]), 0.25 ** (step / 10), rtol=1e-6
    )
