"""The Beam pipeline writes the local path's files, byte for byte, from worker processes."""

import functools
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from planted_teachers import PlantedTeacher
from tiny_data import random_windows, with_weights

from tfrs_distill.data import AttributeVocabulary
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.knowledge import beam, cache_teacher
from tfrs_distill.knowledge.beam import label_with_beam
from tfrs_distill.knowledge.label_windows import LabelSettings
from tfrs_distill.models import RetrievalStudent

NUM_ITEMS = 9
SETTINGS = {"top_k": 4, "temperatures": (1.0, 2.0), "rows_per_shard": 3, "dtype": "int8"}


@pytest.fixture
def windows():
    return with_weights(random_windows(num_items=NUM_ITEMS))


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def workers(monkeypatch):
    """Options for two workers: `"multi_processing"` or `"multi_threading"`."""
    options = pytest.importorskip(
        "apache_beam.options.pipeline_options", reason="Apache Beam is not installed"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))

    def of(mode):
        flags = ["--runner=DirectRunner", "--direct_num_workers=2"]
        return options.PipelineOptions([*flags, f"--direct_running_mode={mode}"])

    return of


class LoggedTeacher(PlantedTeacher):
    """Records the process that created it."""

    def __init__(self, log, num_items):
        super().__init__(num_items)
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")


@pytest.mark.nightly
def test_workers_write_what_the_local_path_writes(tmp_path, windows, workers):
    log = tmp_path / "log"
    make_teacher = functools.partial(LoggedTeacher, str(log), NUM_ITEMS)
    options = workers("multi_processing")
    cached = label_with_beam(
        make_teacher, windows, tmp_path / "beam", pipeline_options=options, **SETTINGS
    )
    cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path / "local", **SETTINGS)
    assert files_in(tmp_path / "beam") == files_in(tmp_path / "local")
    assert len(cached.folds[0].shards) == -(-len(windows) // 3) > 2
    made_in = log.read_text().split()
    assert made_in.count(str(os.getpid())) == 1  # once here, for fingerprint and item embeddings
    assert len(set(made_in)) > 1  # and by workers


def test_a_worker_with_another_teacher_is_refused(windows):
    settings = LabelSettings(4, (1.0,), "float32", 3)
    worker = beam._Label(lambda: PlantedTeacher(NUM_ITEMS), "another", windows, settings)
    with pytest.raises(InputError, match="another fingerprint than the caller's.*load a trained"):
        worker.setup()


def test_existing_shards_are_not_computed_again(tmp_path, windows, monkeypatch):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    monkeypatch.setattr(beam.apache_beam, "Pipeline", None)  # nothing is run
    cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path, **SETTINGS)
    before = files_in(tmp_path)
    label_with_beam(functools.partial(PlantedTeacher, NUM_ITEMS), windows, tmp_path, **SETTINGS)
    assert files_in(tmp_path) == before


def test_without_beam_the_error_names_the_extra(tmp_path, windows, monkeypatch):
    monkeypatch.setattr(beam, "apache_beam", None)
    words = r"Apache Beam needs `apache-beam`.*tfrs-distill\[beam\]"
    with pytest.raises(MissingExtraError, match=words):
        label_with_beam(pytest.fail, windows, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_settings_are_checked_before_a_teacher_is_made(tmp_path, windows):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    with pytest.raises(InputError, match="`top_k` must be within 1 and 8"):
        label_with_beam(pytest.fail, windows, tmp_path, top_k=9)


def test_a_worker_writes_the_outputs_of_a_teacher_that_reads_attributes(tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    windows = random_windows(num_items=NUM_ITEMS)
    values = 1 + np.arange(len(windows))[:, None] % 2
    windows = replace(windows, user_attributes=values.astype(np.int32))

    def teacher():
        known = AttributeVocabulary({"plan": ("free", "gold")})
        student = RetrievalStudent.from_history(
            num_items=NUM_ITEMS, max_history=windows.history.shape[1], embedding_dim=4,
            user_attributes=known, seed=0,
        )  # fmt: skip
        tower = student.query_tower
        tower.attribute_embeddings.assign(np.random.default_rng(0).normal(size=[3, 4]))
        tower.prior_items.assign(3.0)
        return student

    settings = {"rows_per_shard": 3}
    label_with_beam(teacher, windows, tmp_path / "beam", **settings)
    cache_teacher(teacher(), windows, tmp_path / "local", **settings)
    assert files_in(tmp_path / "beam") == files_in(tmp_path / "local")
