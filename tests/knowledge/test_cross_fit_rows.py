"""Cross-fitted knowledge of ranking rows, by teachers that record their training rows."""

import json
import os
import signal
import time

import numpy as np
import pytest
from planted_teachers import RecordingTrainer
from tiny_data import random_windows

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge import CachedTeacher, cross_fit
from tfrs_distill.knowledge.maintenance import inspect, prune, verify
from tfrs_distill.knowledge.shard import Shard

NUM_ROWS = 60


def examples_of(num_rows=NUM_ROWS, seed=0):
    """Rows of 13 users; the feature "row" is the row's number in any subset."""
    random = np.random.default_rng(seed)
    users = random.integers(0, 13, num_rows)
    labels = {"like": random.integers(0, 2, num_rows).astype(float)}
    return RankingExamples({"row": np.arange(num_rows)}, labels, users=users, queries=users)


class Remembers:
    """Returns its fold and, for each row, 1 if trained on the row, 10 if trained on its user."""

    def __init__(self, examples, fold):
        self.rows, self.users = set(examples.features["row"].tolist()), set(examples.users.tolist())
        self.fold = fold

    def row_logits(self, examples):
        rows, users = examples.features["row"].tolist(), examples.users.tolist()
        seen = [(row in self.rows) + 10 * (user in self.users) for row, user in zip(rows, users)]
        own = np.stack([np.full(len(rows), self.fold), np.array(rows)], axis=1)
        return {"seen": np.array(seen, float), "said": own.astype(float)}


class Bar:
    """A progress that records its updates."""

    def __init__(self):
        self.notes = []

    def bar(self, description, total):
        self.notes.append((description, total))
        return self

    def __enter__(self):
        return lambda steps=1, note="": self.notes.append((steps, note))

    def __exit__(self, *_):
        pass


def cross_fitted(folder, train=Remembers, examples=None, **options):
    options = {"fingerprint": "remembers"} | options
    examples = examples or examples_of()
    return cross_fit(train, examples, folder, **options).join(examples)


@pytest.mark.parametrize("num_folds", [2, 4, 13])
def test_no_row_is_labelled_by_a_teacher_trained_on_its_user(tmp_path, num_folds):
    bar, trained = Bar(), []

    def train(examples, fold):
        trained.append((fold, len(examples)))
        return Remembers(examples, fold)

    examples = examples_of()
    found = cross_fitted(tmp_path, train, examples, num_folds=num_folds, progress=bar)
    output = found.teacher_logits
    assert output["seen"].shape == (NUM_ROWS, 1) and (output["seen"] == 0).all()
    np.testing.assert_array_equal(output["said"][:, 1], np.arange(NUM_ROWS))  # in the rows' order
    fold_of = {}
    for user, fold in zip(examples.users.tolist(), output["said"][:, 0].tolist()):
        assert fold_of.setdefault(user, fold) == fold
    users = np.bincount(np.array(list(fold_of.values()), int), minlength=num_folds)
    assert users.max() - users.min() <= 1 and users.sum() == 13  # assigned evenly
    rows = np.bincount(output["said"][:, 0].astype(int), minlength=num_folds)
    assert trained == [(fold, NUM_ROWS - rows[fold]) for fold in range(num_folds)]
    assert bar.notes == [
        ("shards", num_folds),
        *((1, f"fold {fold + 1} of {num_folds}") for fold in range(num_folds)),
        (0, ""),
    ]
    np.testing.assert_array_equal(found.labels["like"], examples.labels["like"])


def test_rows_can_be_assigned_individually(tmp_path):
    output = cross_fitted(tmp_path, num_folds=4, by="row").teacher_logits
    seen = output["seen"][:, 0].tolist()
    # not trained on the row, but on its user
    assert set(seen) <= {0.0, 10.0} and seen.count(10.0) > 50
    assert np.bincount(output["said"][:, 0].astype(int)).tolist() == [15] * 4


def test_assignment_follows_the_seed(tmp_path):
    first, same, other = (
        cross_fitted(tmp_path / name, seed=seed).teacher_logits["said"][:, 0]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def not_again(examples, fold):
    raise AssertionError(f"fold {fold} is trained again")


def test_a_second_call_reads_the_cache(tmp_path):
    first, bar = cross_fitted(tmp_path), Bar()
    again = cross_fitted(tmp_path, not_again, progress=bar)
    for task, logits in first.teacher_logits.items():
        np.testing.assert_array_equal(again.teacher_logits[task], logits)
    assert bar.notes == [("shards", 4), (4, "")]  # the bar still moves to its end
    assert len(list(tmp_path.iterdir())) == 9  # two per fold, and the manifest


@pytest.mark.parametrize(
    "changed",
    [
        {"fingerprint": "another"},
        {"num_folds": 3},
        {"seed": 1},
        {"by": "row"},
        {"examples": examples_of(seed=1)},
    ],
)
def test_file_names_depend_on_everything_that_determines_the_logits(tmp_path, changed):
    cross_fitted(tmp_path)
    with pytest.raises(AssertionError, match="fold 0 is trained again"):
        cross_fitted(tmp_path, not_again, **changed)


def test_an_interrupted_call_loses_only_the_current_fold(tmp_path):
    def interrupted(examples, fold):
        if fold == 2:
            raise KeyboardInterrupt
        return Remembers(examples, fold)

    with pytest.raises(KeyboardInterrupt):
        cross_fitted(tmp_path, interrupted)
    assert len(list(tmp_path.iterdir())) == 2 * 2
    trained = []

    def noted(examples, fold):
        trained.append(fold)
        return Remembers(examples, fold)

    assert (cross_fitted(tmp_path, noted).teacher_logits["seen"] == 0).all()
    assert trained == [2, 3]


def test_a_killed_process_leaves_only_complete_folds(tmp_path):
    child = os.fork()
    if not child:

        def stuck(examples, fold):
            if fold == 1:
                (tmp_path / "reached").touch()
                time.sleep(60)
            return Remembers(examples, fold)

        cross_fitted(tmp_path / "cache", stuck)
        os._exit(0)
    while not (tmp_path / "reached").exists():
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    trained = []

    def noted(examples, fold):
        trained.append(fold)
        return Remembers(examples, fold)

    cross_fitted(tmp_path / "cache", noted)
    assert trained == [1, 2, 3]
    files = sorted(p.suffix for p in (tmp_path / "cache").iterdir())
    assert files == [".json"] + [".safetensors"] * 8


def test_two_processes_share_the_folds(tmp_path):
    """The child takes fold 0 first; the parent does the others and waits for it."""

    def noted(name, pause):
        def train(examples, fold):
            with open(tmp_path / name, "a") as file:
                file.write(f"{fold}\n")
            time.sleep(pause)
            return Remembers(examples, fold)

        return train

    child = os.fork()
    if not child:
        cross_fitted(tmp_path / "cache", noted("child", 0.5))
        os._exit(0)
    while not (tmp_path / "child").exists():
        time.sleep(0.005)
    output = cross_fitted(tmp_path / "cache", noted("parent", 0.0)).teacher_logits
    assert os.waitpid(child, 0)[1] == 0
    assert (output["seen"] == 0).all()
    folds = [(tmp_path / name).read_text().split() for name in ("child", "parent")]
    assert sorted(folds[0] + folds[1]) == ["0", "1", "2", "3"] and "0" in folds[0]


def test_a_damaged_or_foreign_file_is_named(tmp_path):
    cross_fitted(tmp_path / "whole")
    cross_fitted(tmp_path / "other", fingerprint="other")
    mine, others = (sorted((tmp_path / name).glob("*-shard-*")) for name in ("whole", "other"))
    assert [path.name[:35] for path in mine] == [
        f"fold-{fold:05d}-of-00004-shard-00000-of-" for fold in range(4)
    ]
    content = mine[1].read_bytes()
    flipped = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
    for damaged, words in (
        (content[:-5], "bytes long, but its header says"),
        (flipped, "its sha256 differs"),
        (b"", "is not a teacher cache shard, or is damaged"),
    ):
        mine[1].write_bytes(damaged)
        with pytest.raises(InputError, match=words) as caught:
            cross_fitted(tmp_path / "whole", not_again)
        assert str(mine[1]) in str(caught.value)
    for foreign in (others[1], mine[2]):
        mine[1].write_bytes(foreign.read_bytes())
        with pytest.raises(
            InputError, match="bytes long, but the manifest|is of another cache"
        ) as caught:
            CachedTeacher.open(tmp_path / "whole")
        assert str(mine[1]) in str(caught.value)
        with pytest.raises(AssertionError, match="fold 1 is trained again"):
            cross_fitted(tmp_path / "whole", not_again)
    mine[1].unlink()
    trained = []
    cross_fitted(tmp_path / "whole", lambda e, f: trained.append(f) or Remembers(e, f))
    assert trained == [1]


class FixedTeacher:
    def __init__(self, output):
        self.values = output

    def row_logits(self, examples):
        return self.values(len(examples))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda n: {}, "The teacher of fold 0: it has logits for no task"),
        (lambda n: {"like": np.zeros(n + 1)}, r"The teacher of fold 0: `teacher_logits\['like'\]`"),
        (lambda n: {"like": np.full(n, np.inf)}, "The teacher of fold 0: .* must be finite"),
        (
            lambda n: {"like": np.tile([1.0, np.nan], (n, 1))},
            "The teacher of fold 0: .* a row of NaN where the teacher has no output",
        ),
    ],
)
def test_invalid_logits_leave_no_file(tmp_path, output, words):
    with pytest.raises(InputError, match=words):
        cross_fitted(tmp_path, lambda examples, fold: FixedTeacher(output))
    assert list(tmp_path.iterdir()) == []


def test_a_row_of_nan_means_no_output_and_is_kept(tmp_path):
    output = cross_fitted(
        tmp_path, lambda e, f: FixedTeacher(lambda n: {"a": np.where(np.arange(n), 1, np.nan)})
    )
    assert int(np.isnan(output.teacher_logits["a"]).sum()) == 4  # the first of each fold


def test_all_teachers_must_have_the_same_tasks(tmp_path):
    def train(examples, fold):
        return FixedTeacher(lambda n: {"a": np.zeros((n, 2 if fold == 3 else 1))})

    with pytest.raises(InputError, match=r"fold-00003-.*\{'a': 2\}, but .*fold-00000.*: 1"):
        cross_fitted(tmp_path, train)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"num_folds": 1}, InputError, "within 2 and the number of users, 13. Received: num_folds"),
        ({"num_folds": 14}, InputError, "within 2 and the number of users, 13"),
        ({"num_folds": 61, "by": "row"}, InputError, "within 2 and the number of rows, 60"),
        ({"by": "item"}, ValueError, "`by` must be 'user' or 'row'. Received: by='item'"),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        cross_fitted(tmp_path, not_again, **options)


def test_a_file_can_be_read_by_the_safetensors_library(tmp_path):
    """The layout is safetensors'; the rows are in it."""
    import safetensors.numpy

    examples = examples_of()
    output = cross_fitted(tmp_path, examples=examples).teacher_logits
    for path in tmp_path.glob("*-shard-*"):
        arrays = safetensors.numpy.load_file(path)
        assert sorted(arrays) == ["example_keys", "teacher_logits/said", "teacher_logits/seen"]
        for task in ("said", "seen"):
            np.testing.assert_array_equal(
                arrays[f"teacher_logits/{task}"], output[task][arrays["example_keys"]]
            )
    for path in tmp_path.glob("*-teacher-*"):
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        facts = json.loads(header["__metadata__"]["tfrs_distill"])["facts"]
        assert facts["tasks"] == {"said": 2, "seen": 1} and facts["forms"] == ["logits"]


def interrupted_in_its_second_shard(folder, monkeypatch, **options):
    """A call that ends between two shards of fold 0; returns the shard that it wrote."""
    write, written = Shard.write.__func__, []

    def stopping(cls, path, *arguments):
        if "-shard-" in path.name:
            if written:
                raise KeyboardInterrupt
            written.append(path)
        return write(cls, path, *arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Shard, "write", classmethod(stopping))
        cross_fitted(folder, rows_per_shard=4, **options)
    return written[0]


def test_within_a_fold_only_missing_shards_are_computed(tmp_path, monkeypatch):
    kept = interrupted_in_its_second_shard(tmp_path / "a", monkeypatch)
    stamp = kept.stat().st_mtime_ns
    output = cross_fitted(tmp_path / "a", rows_per_shard=4).teacher_logits
    assert kept.stat().st_mtime_ns == stamp
    whole = cross_fitted(tmp_path / "b").teacher_logits
    for task, logits in whole.items():
        np.testing.assert_array_equal(output[task], logits)


def test_shards_of_a_differently_trained_teacher_are_computed_again(tmp_path, monkeypatch):
    class Restless(Remembers):
        def row_logits(self, examples):
            return {task: logits + 0.5 for task, logits in super().row_logits(examples).items()}

    kept = interrupted_in_its_second_shard(tmp_path, monkeypatch)
    output = cross_fitted(tmp_path, Restless, rows_per_shard=4).teacher_logits
    assert not kept.exists() and (output["seen"] == 0.5).all()
    assert verify(tmp_path)["problems"] == []


def test_the_cache_commands_work_on_it(tmp_path):
    cross_fitted(tmp_path)
    cross_fitted(tmp_path, fingerprint="another")
    (facts,) = inspect(tmp_path)["caches"]
    assert (facts["kind"], facts["rows"], facts["folds"]) == ("examples", NUM_ROWS, 4)
    assert facts["forms"] == ["logits"] and facts["tasks"] == {"said": 2, "seen": 1}
    assert {each["why"] for each in prune(tmp_path)} == {"superseded"}
    assert verify(tmp_path)["problems"] == [] and len(list(tmp_path.iterdir())) == 9
    shard = next(tmp_path.glob("*-shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert [each["file"] for each in verify(tmp_path)["problems"]] == [shard.name]


def test_it_can_be_joined_only_to_its_rows(tmp_path):
    examples = examples_of()
    cached = cross_fit(Remembers, examples, tmp_path, fingerprint="f")
    again = CachedTeacher.open(tmp_path)
    assert cached.forms == again.forms == ("logits",) and again.num_folds == 4
    for other in (examples.subset(np.arange(NUM_ROWS)[::-1]), examples_of(seed=1)):
        with pytest.raises(InputError, match="does not have these rows"):
            again.join(other)
    with pytest.raises(InputError, match="has logits of ranking rows, not outputs for windows"):
        again.join(random_windows(num_items=9))


def test_a_cache_of_windows_cannot_be_joined_to_rows(tmp_path):
    windows = random_windows(num_items=9)
    cached = cross_fit(
        RecordingTrainer(9), windows, tmp_path, fingerprint="f", num_folds=2, top_k=3
    )
    with pytest.raises(InputError, match="of windows, not logits of ranking rows"):
        cached.join(examples_of())


@pytest.mark.parametrize(
    "setting", [{"top_k": 3}, {"temperatures": (2.0,)}, {"dtype": "int8"}], ids=str
)
def test_settings_of_windows_are_refused(tmp_path, setting):
    with pytest.raises(
        ValueError, match=f"`{next(iter(setting))}` is a setting for windows.*Remove it"
    ):
        cross_fitted(tmp_path, not_again, **setting)
    with pytest.raises(ValueError, match="`rows_per_shard` must be at least 1. Received: 0"):
        cross_fitted(tmp_path, not_again, rows_per_shard=0)
