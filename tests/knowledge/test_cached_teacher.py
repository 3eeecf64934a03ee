"""The teacher cache: its outputs, the training users of each fold, resuming, and errors."""

import contextlib
import functools
import hashlib
import json
import resource
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from planted_teachers import PlantedTeacher, RecordingTrainer
from tiny_data import random_windows, windows_from

from tfrs_distill import columns
from tfrs_distill.data.example_rows import RowsOfParts
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.knowledge import CachedTeacher, cache_teacher, cross_fit
from tfrs_distill.knowledge.maintenance import verify
from tfrs_distill.knowledge.shard import Shard, ShardArray
from tfrs_distill.progress import SilentProgress
from tfrs_distill.teachers import Teacher

NUM_ITEMS = 9
ALL_ITEMS = tf.range(1, NUM_ITEMS + 1)


@pytest.fixture
def windows():
    """7 users, some with several windows."""
    windows = random_windows(num_items=NUM_ITEMS)
    assert len(np.unique(windows.users)) == 7 < len(windows)
    return windows


def cross_fitted(windows, directory, trainer=None, **changed):
    arguments = {"fingerprint": "recipe 1", "num_folds": 3, "top_k": 4, **changed}
    return cross_fit(trainer or RecordingTrainer(NUM_ITEMS), windows, directory, **arguments)


def logits_in_numpy(teacher, history):
    """A planted teacher's logits for one history, in float64, over all items."""
    return np.array([teacher.score(history[-1], item) for item in range(1, NUM_ITEMS + 1)])


# Outputs.


@pytest.mark.parametrize("seed", [None, 3])
def test_a_cached_teacher_returns_the_live_teachers_logits(tmp_path, windows, seed):
    teacher = PlantedTeacher(NUM_ITEMS)
    cached = cache_teacher(teacher, windows, tmp_path, top_k=4)
    assert cached.num_folds == 1
    for batch in cached.join(windows).batches(3, seed=seed):
        np.testing.assert_allclose(
            cached.logits(batch, ALL_ITEMS), teacher.logits(batch, ALL_ITEMS), atol=1e-6
        )
        some = tf.constant([7, 2, 7])
        np.testing.assert_allclose(
            cached.logits(batch, some), teacher.logits(batch, some), atol=1e-6
        )


@pytest.mark.parametrize("seed", [None, 3])
def test_each_example_gets_its_own_folds_logits(tmp_path, windows, seed):
    cached = cross_fitted(windows, tmp_path)
    teachers = [PlantedTeacher(NUM_ITEMS, seed=100 + fold) for fold in range(3)]
    spoke = set()
    for batch in cached.join(windows).batches(3, seed=seed):
        rows = iter(cached.logits(batch, ALL_ITEMS).numpy())
        for history, labels, fold in zip(
            batch[columns.HISTORY].numpy(),
            batch[columns.LABELS].numpy(),
            batch[columns.TEACHER_FOLD].numpy(),
        ):
            spoke.add(int(fold))
            for position in np.flatnonzero(labels):
                expected = logits_in_numpy(teachers[fold], history[: position + 1])
                np.testing.assert_allclose(next(rows), expected, atol=1e-5)
        assert next(rows, None) is None
    assert spoke == {0, 1, 2}


def test_it_is_one_factorised_teacher(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    assert isinstance(cached, Teacher)
    batch = next(iter(cached.join(windows).batches(64)))
    queries, candidates = cached.encode_queries(batch), cached.encode_candidates(ALL_ITEMS)
    assert queries.shape == (*windows.history.shape, 15)
    assert candidates.shape == (NUM_ITEMS, 15)
    product = tf.einsum("bnd,id->bni", queries, candidates)
    np.testing.assert_allclose(
        tf.boolean_mask(product, batch[columns.LABELS] > 0),
        cached.logits(batch, ALL_ITEMS),
        atol=1e-6,
    )
    for fold, row in zip(batch[columns.TEACHER_FOLD].numpy(), queries.numpy()):
        blocks = row.reshape(-1, 3, 5)
        assert not np.delete(blocks, fold, axis=1).any()


def test_top_k_form_is_exact(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path, temperatures=(1.0, 2.0))
    joined = cached.join(windows, form="top_k")
    assert columns.TEACHER_QUERY_EMBEDDINGS not in joined.knowledge
    teachers = [PlantedTeacher(NUM_ITEMS, seed=100 + fold) for fold in range(3)]
    knowledge = {name: np.asarray(array) for name, array in joined.knowledge.items()}
    fold = knowledge[columns.TEACHER_FOLD]
    for row, position in np.argwhere(windows.labels > 0):
        scores = logits_in_numpy(teachers[fold[row]], windows.history[row, : position + 1])
        order = np.argsort(-scores)
        ids = knowledge[columns.TEACHER_TOP_K_IDS][row, position]
        assert ids.tolist() == (order[:4] + 1).tolist()
        logits = knowledge[columns.TEACHER_TOP_K_LOGITS][row, position]
        np.testing.assert_allclose(logits, scores[order[:4]], atol=1e-5)
        tail = [np.log(np.exp(scores[order[4:]] / temperature).sum()) for temperature in (1, 2)]
        found = knowledge[columns.TEACHER_TAIL][row, position]
        np.testing.assert_allclose(found, tail, atol=1e-5)


def test_join_does_not_change_the_windows(tmp_path, windows):
    joined = cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path, top_k=4).join(windows)
    assert windows.knowledge == {}
    np.testing.assert_array_equal(joined.labels, windows.labels)
    assert joined.fingerprint() == windows.fingerprint()


# Training users.


def test_no_teacher_is_trained_on_a_user_it_labels(tmp_path, windows):
    trainer = RecordingTrainer(NUM_ITEMS)
    fold = cross_fitted(windows, tmp_path, trainer).join(windows).knowledge[columns.TEACHER_FOLD]
    for index in range(3):
        training, held_out = trainer.windows_of[index], windows.subset(fold == index)
        assert len(held_out)
        assert not set(training.users) & set(held_out.users)
        assert set(training.users) | set(held_out.users) == set(windows.users)
        np.testing.assert_array_equal(training.history, windows.history[fold != index])
        np.testing.assert_array_equal(training.labels, windows.labels[fold != index])
        assert training.knowledge == {}


def test_users_are_assigned_evenly_and_by_the_seed(tmp_path, windows):
    def folds(seed):
        cached = cross_fitted(windows, tmp_path / str(seed), seed=seed)
        fold = cached.join(windows).knowledge[columns.TEACHER_FOLD]
        return {user: int(fold[windows.users == user][0]) for user in range(7)}

    dealt = folds(0)
    assert sorted(np.bincount(list(dealt.values()))) == [2, 2, 3]
    assert folds(0) == dealt
    assert folds(1) != dealt


def test_teachers_are_trained_without_knowledge_of_an_earlier_cache(tmp_path, windows):
    joined = cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path / "a", top_k=4).join(
        windows
    )
    trainer = RecordingTrainer(NUM_ITEMS)
    cross_fitted(joined, tmp_path / "b", trainer)
    assert all(training.knowledge == {} for training in trainer.windows_of.values())


def test_embeddings_of_another_cache_are_refused(tmp_path, windows):
    joined, other = (
        cache_teacher(PlantedTeacher(NUM_ITEMS, seed=seed), windows, tmp_path / str(seed), top_k=4)
        for seed in (1, 2)
    )
    batch = next(iter(joined.join(windows).batches(3)))
    with pytest.raises(ValueError, match="query embeddings of other teachers than this"):
        other.logits(batch, ALL_ITEMS)
    again = CachedTeacher.open(tmp_path / "1")
    np.testing.assert_array_equal(again.logits(batch, ALL_ITEMS), joined.logits(batch, ALL_ITEMS))


def test_embeddings_of_8_bits_that_differ_in_their_scales_are_of_other_teachers(tmp_path, windows):
    """Twice the item embeddings have the same 8-bit codes."""

    class Twice(PlantedTeacher):
        def encode_candidates(self, items):
            return 2.0 * super().encode_candidates(items)

        def fingerprint(self):
            return "twice"

    one, other = (
        cache_teacher(kind(NUM_ITEMS), windows, tmp_path / kind.__name__, top_k=4, dtype="int8")
        for kind in (PlantedTeacher, Twice)
    )
    batch = next(iter(one.join(windows).batches(3)))
    with pytest.raises(ValueError, match="query embeddings of other teachers than this"):
        other.logits(batch, ALL_ITEMS)


def test_one_progress_bar_over_the_shards(tmp_path, windows):
    """It ends at its total, however many shards exist already."""
    seen = []

    class Listener(SilentProgress):
        @contextlib.contextmanager
        def bar(self, description, total):
            seen.append((description, total))
            yield lambda steps=1, note="": seen.append(steps)

    fold = cross_fitted(windows, tmp_path, rows_per_shard=2).join(windows)
    sizes = np.bincount(np.asarray(fold.knowledge[columns.TEACHER_FOLD]))
    shards = int(np.ceil(sizes / 2).sum())
    assert shards > 3
    next(tmp_path.glob("fold-00001-*-shard-00000-*")).unlink()
    for directory in (tmp_path / "new", tmp_path, tmp_path):
        seen.clear()
        cross_fitted(windows, directory, progress=Listener(), rows_per_shard=2)
        assert seen[0] == ("shards", shards)
        assert sum(seen[1:]) == shards


# Resuming.


def test_existing_shards_are_not_computed_again(tmp_path, windows):
    first = cross_fitted(windows, tmp_path)
    trainer = RecordingTrainer(NUM_ITEMS)
    again = cross_fitted(windows, tmp_path, trainer)
    assert trainer.folds == []
    assert again.fingerprint() == first.fingerprint() == CachedTeacher.open(tmp_path).fingerprint()
    batch = next(iter(first.join(windows).batches(64)))
    expected = first.logits(batch, ALL_ITEMS)
    for other in (again, CachedTeacher.open(tmp_path)):
        batch = next(iter(other.join(windows).batches(64)))
        np.testing.assert_array_equal(other.logits(batch, ALL_ITEMS), expected)


def test_a_teacher_with_complete_shards_is_not_called_again(tmp_path, windows):
    cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path, top_k=4)
    silent = PlantedTeacher(NUM_ITEMS)
    silent.encode_queries = silent.encode_candidates = silent.logits = pytest.fail
    cache_teacher(silent, windows, tmp_path, top_k=4)


def test_an_interrupted_call_resumes(tmp_path, windows):
    interrupted = RecordingTrainer(NUM_ITEMS, fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        cross_fitted(windows, tmp_path, interrupted)
    assert interrupted.folds == [0, 1]
    with pytest.raises(
        InputError, match="is not a complete teacher cache.*complete shards are kept"
    ):
        CachedTeacher.open(tmp_path)
    trainer = RecordingTrainer(NUM_ITEMS)
    resumed = cross_fitted(windows, tmp_path, trainer)
    assert trainer.folds == [2]
    undisturbed = cross_fitted(windows, tmp_path.with_name("other"))
    assert resumed.fingerprint() == undisturbed.fingerprint()
    np.testing.assert_array_equal(resumed.item_embeddings, undisturbed.item_embeddings)


@pytest.mark.parametrize(
    "changed",
    [
        {"fingerprint": "recipe 2"},
        {"top_k": 3},
        {"temperatures": (1.0, 3.0)},
        {"num_folds": 2},
        {"seed": 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_any_change_of_settings_recomputes_the_cache(tmp_path, windows, changed):
    first = cross_fitted(windows, tmp_path)
    trainer = RecordingTrainer(NUM_ITEMS)
    again = cross_fitted(windows, tmp_path, trainer, **changed)
    if "seed" in changed:  # a fold to which the same users are assigned may stay
        assert trainer.folds
    else:
        assert trainer.folds == list(range(changed.get("num_folds", 3)))
    assert again.fingerprint() != first.fingerprint()
    assert again.temperatures == changed.get("temperatures", (1.0,))
    assert CachedTeacher.open(tmp_path).fingerprint() == again.fingerprint()


def test_other_windows_recompute_the_cache(tmp_path, windows):
    cross_fitted(windows, tmp_path)
    trainer = RecordingTrainer(NUM_ITEMS)
    history = windows.history.copy()
    history[-1, -1] = 1 + history[-1, -1] % NUM_ITEMS  # the same users and rows, one item changed
    changed = Windows(windows.catalogue, windows.users, history, windows.labels)
    cross_fitted(changed, tmp_path, trainer)
    assert trainer.folds == [0, 1, 2]


def test_another_teacher_recomputes_the_cache(tmp_path, windows):
    first = cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path, top_k=4)
    other = PlantedTeacher(NUM_ITEMS, seed=1)
    again = cache_teacher(other, windows, tmp_path, top_k=4)
    assert again.fingerprint() != first.fingerprint()
    batch = next(iter(again.join(windows).batches(64)))
    np.testing.assert_allclose(
        again.logits(batch, ALL_ITEMS), other.logits(batch, ALL_ITEMS), atol=1e-6
    )


def test_a_partly_renewed_cache_is_not_finished(tmp_path, windows):
    """Shards of an old and a new recipe together must not pass for one cache."""
    cross_fitted(windows, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cross_fitted(
            windows, tmp_path, RecordingTrainer(NUM_ITEMS, fail_at=1), fingerprint="recipe 2"
        )
    with pytest.raises(InputError, match="is not a complete teacher cache"):
        CachedTeacher.open(tmp_path)


# Errors.


def test_a_subset_of_windows_in_any_order_gets_its_own_knowledge(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    rows = np.random.default_rng(5).permutation(len(windows))[:4]
    whole, part = cached.join(windows), cached.join(windows.subset(rows))
    for name, array in part.knowledge.items():
        np.testing.assert_array_equal(array, whole.knowledge[name][rows])


def test_other_windows_cannot_be_joined(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    with pytest.raises(InputError, match="not have training example 0, .*Make the cache again"):
        cached.join(random_windows(num_items=NUM_ITEMS, max_history=3))


@pytest.mark.parametrize("part", ["users", "history", "labels"])
def test_a_missing_example_is_named(tmp_path, windows, part):
    cached = cross_fitted(windows, tmp_path)
    changed = getattr(windows, part).copy()
    changed[3] = changed[3] + 1
    other = replace(windows, **{part: changed})
    words = f"does not have training example 3, of user {other.users[3]}"
    with pytest.raises(InputError, match=words):
        cached.join(other)


def test_a_changed_text_is_another_catalogue(tmp_path):
    sequences = [[1, 2, 3], [3, 2, 1]]
    before = windows_from(sequences, num_items=3, max_history=2)
    after = windows_from(sequences, num_items=3, max_history=2, texts=["Film 1", "Film 2", "new"])
    cached = cache_teacher(PlantedTeacher(3), before, tmp_path, top_k=2)
    with pytest.raises(InputError, match="made for other windows: the data, the item texts"):
        cached.join(after)


def test_an_example_of_a_missing_shard_is_named(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    partial = CachedTeacher(cached.folds[1:], cached.temperatures)
    lost = set(np.asarray(cached.folds[0].shards[0].arrays["example_keys"]).tolist())
    missing = [key in lost for key in windows.example_keys().tolist()].index(True)
    with pytest.raises(InputError, match=f"does not have training example {missing}, "):
        partial.join(windows)


def shard_of(directory, fold, index=0):
    return next(directory.glob(f"fold-{fold:05d}-*-shard-{index:05d}-*.safetensors"))


def test_a_truncated_shard_is_named(tmp_path, windows):
    cross_fitted(windows, tmp_path)
    path = shard_of(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-1])
    for read in (lambda: CachedTeacher.open(tmp_path), lambda: cross_fitted(windows, tmp_path)):
        with pytest.raises(InputError, match=rf"{path.name} is \d+ bytes long, but .* says"):
            read()


def test_a_missing_shard_is_named_and_computed_again(tmp_path, windows):
    cross_fitted(windows, tmp_path)
    path = shard_of(tmp_path, 1)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name} is missing.*make the cache again"):
        CachedTeacher.open(tmp_path)
    trainer = RecordingTrainer(NUM_ITEMS)
    cross_fitted(windows, tmp_path, trainer)
    assert trainer.folds == [1]
    assert path.read_bytes() == content
    CachedTeacher.open(tmp_path)


def test_a_foreign_shard_is_named(tmp_path, windows):
    """The same file name, size and layout, but another teacher's outputs."""
    cross_fitted(windows, tmp_path / "ours")
    cross_fitted(windows, tmp_path / "theirs", fingerprint="recipe 2")
    path = shard_of(tmp_path / "ours", 1)
    path.write_bytes(shard_of(tmp_path / "theirs", 1).read_bytes())
    with pytest.raises(InputError, match=f"{path.name} is of another cache"):
        CachedTeacher.open(tmp_path / "ours")


@pytest.mark.parametrize("content", [None, "", "[1]", '{"format": 6}'])
def test_an_unfinished_cache_is_refused(tmp_path, windows, content):
    cross_fitted(windows, tmp_path)
    (tmp_path / "cache.json").unlink()
    if content is not None:
        (tmp_path / "cache.json").write_text(content)
    with pytest.raises(InputError, match="is not a complete teacher cache: its cache.json cannot"):
        CachedTeacher.open(tmp_path)
    trainer = RecordingTrainer(NUM_ITEMS)
    cross_fitted(windows, tmp_path, trainer)
    assert trainer.folds == []
    CachedTeacher.open(tmp_path)


def test_a_changed_number_in_the_manifest_is_detected(tmp_path, windows):
    cross_fitted(windows, tmp_path)
    path = tmp_path / "cache.json"
    path.write_text(path.read_text().replace("1.0", "2.0"))
    with pytest.raises(InputError, match="cache.json cannot be read"):
        CachedTeacher.open(tmp_path)


def test_an_older_format_is_named(tmp_path):
    (tmp_path / "cache.json").write_text('{"temperatures": [1.0], "shards": []}')
    words = "has format 2 or older, this version reads format 6. Delete the folder"
    with pytest.raises(InputError, match=words):
        CachedTeacher.open(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a complete teacher cache"):
        CachedTeacher.open(tmp_path / "nowhere")


def test_a_teacher_that_returns_nan_writes_nothing(tmp_path, windows):
    teacher = PlantedTeacher(NUM_ITEMS)
    teacher.queries = tf.fill([NUM_ITEMS + 1, 5], float("nan"))
    user = windows.users[0]
    with pytest.raises(InputError, match=f"NaN or infinite logits, first for user {user} "):
        cache_teacher(teacher, windows, tmp_path / "cache", top_k=4)
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_a_full_disk_leaves_only_complete_shards(tmp_path, windows):
    class Large(RecordingTrainer):
        def __call__(self, training, fold):
            super().__call__(training, fold)
            return PlantedTeacher(NUM_ITEMS, seed=100 + fold, dim=5 if fold < 1 else 5000)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError):
            cross_fitted(windows, tmp_path, Large(NUM_ITEMS))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name[:24] for name in names] == ["fold-00000-of-00003-shar", "fold-00000-of-00003-teac"]
    trainer = RecordingTrainer(NUM_ITEMS)
    cross_fitted(windows, tmp_path, trainer)
    assert trainer.folds == [1, 2]


@pytest.mark.parametrize("num_folds", [1, 0, 8])
def test_the_number_of_folds_is_checked(tmp_path, windows, num_folds):
    with pytest.raises(InputError, match=rf"within 2 and the number of users, 7\. .*={num_folds}"):
        cross_fitted(windows, tmp_path, num_folds=num_folds)


@pytest.mark.parametrize("top_k", [0, NUM_ITEMS, 100])
def test_top_k_is_checked_before_anything_is_trained(tmp_path, windows, top_k):
    trainer = RecordingTrainer(NUM_ITEMS)
    with pytest.raises(
        InputError, match=rf"`top_k` must be within 1 and 8.*Received: top_k={top_k}"
    ):
        cross_fitted(windows, tmp_path, trainer, top_k=top_k)
    assert trainer.folds == []


def test_the_form_is_checked(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    with pytest.raises(ValueError, match="'embeddings' or 'top_k'. Received: form='logits'"):
        cached.join(windows, form="logits")


def test_a_batch_without_knowledge_is_refused(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    for plain in (windows, cached.join(windows, form="top_k")):
        with pytest.raises(ValueError, match="has no teacher outputs.*teacher_query_embedd"):
            cached.logits(next(iter(plain.batches(2))), ALL_ITEMS)


def test_the_manifest_lists_every_file(tmp_path, windows):
    cross_fitted(windows, tmp_path, temperatures=(1, 2.0), rows_per_shard=2)
    facts = json.loads((tmp_path / "cache.json").read_text())
    files = {path.name: path for path in tmp_path.iterdir() if path.name != "cache.json"}
    assert facts["shards"].keys() == files.keys()
    for name, path in files.items():
        content = path.read_bytes()
        assert facts["shards"][name]["bytes"] == len(content)
        assert facts["shards"][name]["sha256"] == hashlib.sha256(content).hexdigest()
    assert facts["num_rows"] == len(windows)
    assert CachedTeacher.open(tmp_path).temperatures == (1.0, 2.0)


# Shards of bounded rows.


@pytest.mark.parametrize("rows_per_shard", [1, 2, 100])
def test_shards_hold_a_folds_examples_in_order(tmp_path, windows, rows_per_shard):
    cached = cross_fitted(windows, tmp_path, rows_per_shard=rows_per_shard)
    whole = cross_fitted(windows, tmp_path / "whole")
    for fold, one in zip(cached.folds, whole.folds, strict=True):
        sizes = [len(shard.arrays["example_keys"]) for shard in fold.shards]
        assert all(size == rows_per_shard for size in sizes[:-1])
        assert 1 <= sizes[-1] <= rows_per_shard
        for name, array in one.shards[0].arrays.items():
            parts = np.concatenate([shard.arrays[name] for shard in fold.shards])
            np.testing.assert_allclose(parts, array, atol=1e-6)  # other batches have other rounding
    for form in cached.forms:
        expected = whole.join(windows, form=form).knowledge
        for name, array in cached.join(windows, form=form).knowledge.items():
            np.testing.assert_allclose(np.asarray(array), expected[name][:], atol=1e-6)


def test_the_same_work_gives_the_same_bytes(tmp_path, windows):
    for name in "ab":
        cross_fitted(windows, tmp_path / name, rows_per_shard=2)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert first == second


def interrupted(windows, directory, monkeypatch, *, after, trainer, **changed):
    """A cross-fit that is stopped before it writes shard number `after`."""
    written, write = [], Shard.write.__func__

    def stopping(cls, path, *arguments):
        if "-shard-" in path.name:
            if len(written) == after:
                raise KeyboardInterrupt
            written.append(path.name)
        return write(cls, path, *arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Shard, "write", classmethod(stopping))
        cross_fitted(windows, directory, trainer, rows_per_shard=2, **changed)
    assert len(written) == after
    return written


def test_within_a_fold_only_missing_shards_are_computed(tmp_path, windows, monkeypatch):
    kept = interrupted(windows, tmp_path, monkeypatch, after=1, trainer=RecordingTrainer(NUM_ITEMS))
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in kept}
    trainer = RecordingTrainer(NUM_ITEMS)
    cross_fitted(windows, tmp_path, trainer, rows_per_shard=2)
    assert trainer.folds == [0, 1, 2]  # the interrupted fold's teacher is trained once more
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == stamps
    other = tmp_path.with_name(f"{tmp_path.name}-other")
    cross_fitted(windows, other, rows_per_shard=2)
    for path in other.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_shards_of_a_differently_trained_teacher_are_computed_again(tmp_path, windows, monkeypatch):
    """Training is not deterministic: a fold must not mix two teachers."""

    class Restless(RecordingTrainer):
        def __call__(self, training, fold):
            super().__call__(training, fold)
            return PlantedTeacher(NUM_ITEMS, seed=200 + fold)

    kept = interrupted(windows, tmp_path, monkeypatch, after=1, trainer=RecordingTrainer(NUM_ITEMS))
    cached = cross_fitted(windows, tmp_path, Restless(NUM_ITEMS), rows_per_shard=2)
    assert not (tmp_path / kept[0]).exists()
    for fold in range(3):
        teacher = PlantedTeacher(NUM_ITEMS, seed=200 + fold)
        mine = windows.subset(np.asarray(cached.join(windows).knowledge["teacher_fold"]) == fold)
        batch = next(iter(cached.join(mine).batches(64)))
        np.testing.assert_allclose(
            cached.logits(batch, ALL_ITEMS), teacher.logits(batch, ALL_ITEMS), atol=1e-6
        )
    assert verify(tmp_path)["problems"] == []


# Other teachers.


class Reranker:
    """Returns logits alone, which depend on the example's number and the history."""

    def __init__(self, poison=None):
        self.poison, self.table = poison, np.random.default_rng(3).normal(size=(50, NUM_ITEMS))

    def logits(self, batch, candidate_ids):
        rows, positions = np.nonzero(batch[columns.LABELS].numpy())  # plain Python: not traced
        output = self.table[batch[columns.EXAMPLE_ID].numpy()[rows]] * (1 + positions[:, None])
        if self.poison is not None:
            user, position, value = self.poison
            hit = (batch[columns.USER_ID].numpy()[rows] == user) & (positions == position)
            output[hit, NUM_ITEMS - 1] = value
        return np.float32(output)[:, candidate_ids.numpy() - 1]

    def fingerprint(self):
        return "re-ranker"


@pytest.mark.parametrize("rows_per_shard", [2, 64])
def test_a_teacher_with_logits_alone_is_cached_as_its_top_k(tmp_path, windows, rows_per_shard):
    teacher = Reranker()
    cached = cache_teacher(teacher, windows, tmp_path, top_k=4, rows_per_shard=rows_per_shard)
    assert cached.forms == CachedTeacher.open(tmp_path).forms == ("top_k",)
    knowledge = cached.join(windows, form="top_k").knowledge
    knowledge = {name: np.asarray(array) for name, array in knowledge.items()}
    for row, position in np.ndindex(windows.labels.shape):
        ids, logits, tail = (
            knowledge[name][row, position]
            for name in ("teacher_top_k_ids", "teacher_top_k_logits", "teacher_tail")
        )
        if windows.labels[row, position]:
            scores = teacher.table[row] * (1 + position)
            order = np.argsort(-scores)
            assert ids.tolist() == (order[:4] + 1).tolist()
            np.testing.assert_allclose(logits, scores[order[:4]], rtol=1e-5)
            rest = np.log(np.exp(scores[order[4:]]).sum())
            np.testing.assert_allclose(tail, rest, rtol=1e-5, atol=1e-5)
        else:
            assert not ids.any() and not logits.any() and not tail.any()


def test_embeddings_of_a_teacher_without_embeddings_are_refused(tmp_path, windows):
    cached = cache_teacher(Reranker(), windows, tmp_path, top_k=4)
    words = r"has no embeddings, only \['top_k'\].*Join it with `form='top_k'`"
    by_embeddings = functools.partial(cached.join, form="embeddings")
    for call in (by_embeddings, lambda _: cached.item_embeddings):
        with pytest.raises(InputError, match=words):
            call(windows)
    joined = cached.join(windows)  # whatever its content
    assert columns.TEACHER_TOP_K_IDS in joined.knowledge


def test_a_factorised_teacher_can_be_joined_in_both_forms(tmp_path, windows):
    assert cross_fitted(windows, tmp_path).forms == ("embeddings", "top_k")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows_per_shard", [1, 64])
def test_a_value_that_is_not_finite_is_named_and_nothing_is_written(
    tmp_path, windows, value, rows_per_shard
):
    """At one label, for an item that is not necessarily among the top."""
    row, position = np.argwhere(windows.labels > 0)[-1]
    user = int(windows.users[row])
    teacher = Reranker(poison=(user, position, value))
    with pytest.raises(InputError, match=rf"first for user {user} at position {position} "):
        cache_teacher(teacher, windows, tmp_path, top_k=4, rows_per_shard=rows_per_shard)
    assert list(tmp_path.iterdir()) == []


def test_examples_keep_their_numbers_of_the_windows(tmp_path, windows):
    """In a later shard and an odd fold, an example keeps its number among all windows."""
    teacher = Reranker()
    cached = cross_fit(
        lambda _, __: teacher, windows, tmp_path, fingerprint="", num_folds=3, top_k=1
    )
    best = np.asarray(cached.join(windows, form="top_k").knowledge["teacher_top_k_ids"])[..., 0]
    expected = teacher.table.argmax(axis=1)[: len(windows)] + 1
    labelled = windows.labels > 0
    np.testing.assert_array_equal(
        best, np.where(labelled, np.broadcast_to(expected[:, None], best.shape), 0)
    )


@pytest.mark.parametrize("gives", [None, lambda: None, lambda: ""], ids=["no method", "None", ""])
def test_a_teacher_without_a_fingerprint_is_refused(tmp_path, windows, gives):
    class Nameless:
        logits = Reranker().logits

    if gives is not None:
        Nameless.fingerprint = staticmethod(gives)
    with pytest.raises(
        InputError, match=r"A Nameless cannot be cached.*`fingerprint\(\)`.*Add one"
    ):
        cache_teacher(Nameless(), windows, tmp_path, top_k=4)
    with pytest.raises(InputError, match="A Nameless cannot be cached"):
        cross_fitted(windows, tmp_path, lambda _, __: Nameless())
    assert list(tmp_path.iterdir()) == []


# Compact storage.


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_logits_of_stored_embeddings_are_within_their_bound(tmp_path, windows, dtype):
    """Error bound of a product: `|dq| |c| + |q| |dc| + |dq| |dc|`, in float64."""
    teacher = PlantedTeacher(NUM_ITEMS)
    cached = cache_teacher(teacher, windows, tmp_path, top_k=4, dtype=dtype)
    arrays = cached.folds[0].shards[0].arrays
    assert arrays["teacher_query_embeddings"].dtype == dtype
    assert cached.folds[0].teacher.arrays["item_embeddings"].dtype == dtype

    def error(values):
        values = np.abs(np.float64(values))
        if dtype == "int8":
            return np.broadcast_to(values.max(axis=-1, keepdims=True) / 127 / 2, values.shape)
        return values * {"float16": 2.0**-11, "float32": 0.0}[dtype]

    items = np.float64(teacher.candidates)[1:]
    exact = PlantedTeacher(NUM_ITEMS)
    apart = []
    for batch in cached.join(windows).batches(3, seed=1):
        labelled = batch[columns.LABELS].numpy() > 0
        queries = np.float64(exact.encode_queries(batch))[labelled]
        bound = error(queries) @ np.abs(items).T + np.abs(queries) @ error(items).T
        bound += error(queries) @ error(items).T + 1e-5  # float32 sums of five numbers below 10
        found = np.float64(cached.logits(batch, ALL_ITEMS)) - queries @ items.T
        assert (np.abs(found) <= bound).all()
        apart.append(np.abs(found).max())
    assert (max(apart) > 1e-4) == (dtype != "float32")  # stored in fewer bytes


def test_top_k_comes_from_exact_and_not_from_stored_embeddings(tmp_path, windows):
    coarse, exact = (
        cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path / name, top_k=4, dtype=name)
        for name in ("int8", "float32")
    )
    for name, array in exact.join(windows, form="top_k").knowledge.items():
        np.testing.assert_array_equal(
            np.asarray(coarse.join(windows, form="top_k").knowledge[name]), array
        )


def test_joining_reads_no_knowledge_and_a_batch_reads_only_its_rows(tmp_path, windows, monkeypatch):
    cached = cross_fitted(windows, tmp_path, rows_per_shard=2)
    read_rows, get = [], RowsOfParts.__getitem__

    def counted(self, rows):
        read_rows.append(rows)
        return get(self, rows)

    monkeypatch.setattr(RowsOfParts, "__getitem__", counted)
    joined = cached.join(windows, form="top_k")
    for array in list(joined.knowledge.values())[1:]:
        assert all(isinstance(part, ShardArray) for part in array.parts)
    assert read_rows == []
    for batch in joined.batches(3).take(1):
        assert batch[columns.TEACHER_TOP_K_IDS].shape == (3, windows.max_history, 4)
    # one batch at a time, with some prefetched
    assert read_rows and all(len(rows) <= 3 for rows in read_rows)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dtype": "float64"}, "`dtype` must be one of .*'float64'"),
        ({"rows_per_shard": 0}, "`rows_per_shard` must be at least 1. Received: 0"),
        ({"temperatures": ()}, "`temperatures` must hold at least one number"),
        ({"temperatures": (np.nan,)}, "`temperatures` must hold .*finite"),
    ],
)
def test_settings_are_checked_before_anything_is_trained(tmp_path, windows, wrong, words):
    trainer = RecordingTrainer(NUM_ITEMS)
    with pytest.raises(ValueError, match=words):
        cross_fitted(windows, tmp_path, trainer, **wrong)
    assert trainer.folds == []


@pytest.mark.parametrize("changed", [{"dtype": "int8"}, {"rows_per_shard": 1}], ids=str)
def test_another_storage_format_is_another_cache(tmp_path, windows, changed):
    cross_fitted(windows, tmp_path)
    trainer = RecordingTrainer(NUM_ITEMS)
    cross_fitted(windows, tmp_path, trainer, **changed)
    assert trainer.folds == [0, 1, 2]


def test_windows_with_other_user_attributes_cannot_be_joined(tmp_path, windows):
    attributes = np.arange(len(windows))[:, None] % 3
    known = replace(windows, user_attributes=attributes)
    cached = cache_teacher(PlantedTeacher(NUM_ITEMS), known, tmp_path / "known", top_k=4)
    assert len(cached.join(known)) == len(windows)
    with pytest.raises(InputError, match="or the user attributes differ"):
        cached.join(replace(known, user_attributes=2 - attributes))
    without = cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path / "without", top_k=4)
    assert len(without.join(known)) == len(windows)  # its teacher read none
