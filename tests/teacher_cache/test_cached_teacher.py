"""The teacher cache: what it answers, who taught whom, what it resumes and what it refuses."""

import contextlib
import json
import resource
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from planted_teachers import PlantedTeacher, School
from tiny_data import random_windows, windows_from

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.progress import SilentProgress
from tfrs_distill.teacher_cache import CachedTeacher, cache_teacher, cross_fit_teacher
from tfrs_distill.teachers import Teacher

NUM_ITEMS = 9
ALL_ITEMS = tf.range(1, NUM_ITEMS + 1)


@pytest.fixture
def windows():
    """7 users, some with several windows."""
    windows = random_windows(num_items=NUM_ITEMS)
    assert len(np.unique(windows.users)) == 7 < len(windows)
    return windows


def cross_fitted(windows, directory, school=None, **changed):
    arguments = {"fingerprint": "recipe 1", "num_folds": 3, "top_k": 4, **changed}
    return cross_fit_teacher(school or School(NUM_ITEMS), windows, directory, **arguments)


def logits_in_numpy(teacher, history):
    """What a planted teacher answers to one history, in float64, over all items."""
    return np.array([teacher.score(history[-1], item) for item in range(1, NUM_ITEMS + 1)])


# What it answers.


@pytest.mark.parametrize("seed", [None, 3])
def test_a_cached_teacher_gives_the_live_ones_logits(tmp_path, windows, seed):
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
    fold = joined.knowledge[columns.TEACHER_FOLD]
    for row, position in np.argwhere(windows.labels > 0):
        scores = logits_in_numpy(teachers[fold[row]], windows.history[row, : position + 1])
        order = np.argsort(-scores)
        ids = joined.knowledge[columns.TEACHER_TOP_K_IDS][row, position]
        assert ids.tolist() == (order[:4] + 1).tolist()
        logits = joined.knowledge[columns.TEACHER_TOP_K_LOGITS][row, position]
        np.testing.assert_allclose(logits, scores[order[:4]], atol=1e-5)
        tail = [np.log(np.exp(scores[order[4:]] / temperature).sum()) for temperature in (1, 2)]
        found = joined.knowledge[columns.TEACHER_TAIL][row, position]
        np.testing.assert_allclose(found, tail, atol=1e-5)


def test_join_leaves_the_windows_as_they_were(tmp_path, windows):
    joined = cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path, top_k=4).join(windows)
    assert windows.knowledge == {}
    np.testing.assert_array_equal(joined.labels, windows.labels)
    assert joined.fingerprint() == windows.fingerprint()


# Who taught whom.


def test_no_teacher_ever_sees_a_user_it_speaks_about(tmp_path, windows):
    school = School(NUM_ITEMS)
    fold = cross_fitted(windows, tmp_path, school).join(windows).knowledge[columns.TEACHER_FOLD]
    for index in range(3):
        taught, asked = school.taught[index], windows.subset(fold == index)
        assert len(asked)
        assert not set(taught.users) & set(asked.users)
        assert set(taught.users) | set(asked.users) == set(windows.users)
        np.testing.assert_array_equal(taught.history, windows.history[fold != index])
        np.testing.assert_array_equal(taught.labels, windows.labels[fold != index])
        assert taught.knowledge == {}


def test_users_are_dealt_evenly_and_by_the_seed(tmp_path, windows):
    def folds(seed):
        cached = cross_fitted(windows, tmp_path / str(seed), seed=seed)
        fold = cached.join(windows).knowledge[columns.TEACHER_FOLD]
        return {user: int(fold[windows.users == user][0]) for user in range(7)}

    dealt = folds(0)
    assert sorted(np.bincount(list(dealt.values()))) == [2, 2, 3]
    assert folds(0) == dealt
    assert folds(1) != dealt


def test_knowledge_of_an_earlier_cache_does_not_reach_the_teachers(tmp_path, windows):
    joined = cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path / "a", top_k=4).join(
        windows
    )
    school = School(NUM_ITEMS)
    cross_fitted(joined, tmp_path / "b", school)
    assert all(taught.knowledge == {} for taught in school.taught.values())


def test_one_bar_over_the_folds(tmp_path, windows):
    seen = []

    class Listener(SilentProgress):
        @contextlib.contextmanager
        def bar(self, description, total):
            seen.append((description, total))
            yield lambda steps=1, note="": seen.append(steps)

    cross_fitted(windows, tmp_path, progress=Listener())
    assert seen == [("folds", 3), 1, 1, 1]


# What it resumes.


def test_what_is_on_disk_is_not_made_again(tmp_path, windows):
    first = cross_fitted(windows, tmp_path)
    school = School(NUM_ITEMS)
    again = cross_fitted(windows, tmp_path, school)
    assert school.folds == []
    assert again.fingerprint() == first.fingerprint() == CachedTeacher.open(tmp_path).fingerprint()
    batch = next(iter(first.join(windows).batches(64)))
    expected = first.logits(batch, ALL_ITEMS)
    for other in (again, CachedTeacher.open(tmp_path)):
        batch = next(iter(other.join(windows).batches(64)))
        np.testing.assert_array_equal(other.logits(batch, ALL_ITEMS), expected)


def test_an_interrupted_call_resumes(tmp_path, windows):
    interrupted = School(NUM_ITEMS, fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        cross_fitted(windows, tmp_path, interrupted)
    assert interrupted.folds == [0, 1]
    with pytest.raises(InputError, match="is not a finished teacher cache.*whole shards are kept"):
        CachedTeacher.open(tmp_path)
    school = School(NUM_ITEMS)
    resumed = cross_fitted(windows, tmp_path, school)
    assert school.folds == [2]
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
def test_a_change_of_anything_makes_it_again(tmp_path, windows, changed):
    first = cross_fitted(windows, tmp_path)
    school = School(NUM_ITEMS)
    again = cross_fitted(windows, tmp_path, school, **changed)
    if "seed" in changed:  # a fold that happens to be dealt the same users may stay
        assert school.folds
    else:
        assert school.folds == list(range(changed.get("num_folds", 3)))
    assert again.fingerprint() != first.fingerprint()
    assert again.temperatures == changed.get("temperatures", (1.0,))
    assert CachedTeacher.open(tmp_path).fingerprint() == again.fingerprint()


def test_other_windows_make_it_again(tmp_path, windows):
    cross_fitted(windows, tmp_path)
    school = School(NUM_ITEMS)
    history = windows.history.copy()
    history[-1, -1] = 1 + history[-1, -1] % NUM_ITEMS  # the same users and rows, one item changed
    changed = Windows(windows.catalogue, windows.users, history, windows.labels)
    cross_fitted(changed, tmp_path, school)
    assert school.folds == [0, 1, 2]


def test_another_teacher_makes_it_again(tmp_path, windows):
    first = cache_teacher(PlantedTeacher(NUM_ITEMS), windows, tmp_path, top_k=4)
    other = PlantedTeacher(NUM_ITEMS, seed=1)
    again = cache_teacher(other, windows, tmp_path, top_k=4)
    assert again.fingerprint() != first.fingerprint()
    batch = next(iter(again.join(windows).batches(64)))
    np.testing.assert_allclose(
        again.logits(batch, ALL_ITEMS), other.logits(batch, ALL_ITEMS), atol=1e-6
    )


def test_a_half_renewed_cache_is_not_finished(tmp_path, windows):
    """Shards of an old and a new recipe side by side must not pass for one cache."""
    cross_fitted(windows, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cross_fitted(windows, tmp_path, School(NUM_ITEMS, fail_at=1), fingerprint="recipe 2")
    with pytest.raises(InputError, match="is not a finished teacher cache"):
        CachedTeacher.open(tmp_path)


# What it refuses.


def test_some_windows_in_any_order_get_their_own_knowledge(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    rows = np.random.default_rng(5).permutation(len(windows))[:4]
    whole, part = cached.join(windows), cached.join(windows.subset(rows))
    for name, array in part.knowledge.items():
        np.testing.assert_array_equal(array, whole.knowledge[name][rows])


def test_other_windows_cannot_be_joined(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    with pytest.raises(InputError, match="not hold training example 0, .*Make the cache again"):
        cached.join(random_windows(num_items=NUM_ITEMS, max_history=3))


@pytest.mark.parametrize("part", ["users", "history", "labels"])
def test_the_example_that_is_not_held_is_named(tmp_path, windows, part):
    cached = cross_fitted(windows, tmp_path)
    changed = getattr(windows, part).copy()
    changed[3] = changed[3] + 1
    other = replace(windows, **{part: changed})
    words = f"does not hold training example 3, of user {other.users[3]}"
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
    partial = CachedTeacher(cached.shards[1:], cached.temperatures)
    lost = set(cached.shards[0].arrays["example_keys"].tolist())
    missing = [key in lost for key in windows.example_keys().tolist()].index(True)
    with pytest.raises(InputError, match=f"does not hold training example {missing}, "):
        partial.join(windows)


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_shard_is_named(tmp_path, windows, damage):
    cross_fitted(windows, tmp_path)
    path = tmp_path / "shard-00001-of-00003" / "teacher_query_embeddings.npy"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    for read in (lambda: CachedTeacher.open(tmp_path), lambda: cross_fitted(windows, tmp_path)):
        with pytest.raises(InputError, match=r"00001-of-00003/teacher_query_embeddings\.npy is"):
            read()


@pytest.mark.parametrize("content", [None, "", "[1]", '{"shards": []}'])
def test_an_unfinished_cache_is_refused(tmp_path, windows, content):
    cross_fitted(windows, tmp_path)
    (tmp_path / "cache.json").unlink()
    if content is not None:
        (tmp_path / "cache.json").write_text(content)
    with pytest.raises(InputError, match="is not a finished teacher cache: its cache.json cannot"):
        CachedTeacher.open(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a finished teacher cache"):
        CachedTeacher.open(tmp_path / "nowhere")


def test_a_teacher_that_gives_nan_writes_nothing(tmp_path, windows):
    teacher = PlantedTeacher(NUM_ITEMS)
    teacher.queries = tf.fill([NUM_ITEMS + 1, 5], float("nan"))
    user = windows.users[0]
    with pytest.raises(InputError, match=f"NaN or infinite logits, first for user {user} "):
        cache_teacher(teacher, windows, tmp_path / "cache", top_k=4)
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_a_full_disk_leaves_whole_shards_alone(tmp_path, windows):
    class Large(School):
        def __call__(self, taught, fold):
            super().__call__(taught, fold)
            return PlantedTeacher(NUM_ITEMS, seed=100 + fold, dim=5 if fold < 1 else 500)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError):
            cross_fitted(windows, tmp_path, Large(NUM_ITEMS))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000-of-00003"]
    school = School(NUM_ITEMS)
    cross_fitted(windows, tmp_path, school)
    assert school.folds == [1, 2]


@pytest.mark.parametrize("num_folds", [1, 0, 8])
def test_the_number_of_folds_is_checked(tmp_path, windows, num_folds):
    with pytest.raises(InputError, match=rf"within 2 and the number of users, 7\. .*={num_folds}"):
        cross_fitted(windows, tmp_path, num_folds=num_folds)


@pytest.mark.parametrize("top_k", [0, NUM_ITEMS, 100])
def test_top_k_is_checked_before_anything_is_trained(tmp_path, windows, top_k):
    school = School(NUM_ITEMS)
    with pytest.raises(
        InputError, match=rf"`top_k` must be within 1 and 8.*Received: top_k={top_k}"
    ):
        cross_fitted(windows, tmp_path, school, top_k=top_k)
    assert school.folds == []


def test_the_form_is_checked(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    with pytest.raises(ValueError, match="'embeddings' or 'top_k'. Received: form='logits'"):
        cached.join(windows, form="logits")


def test_a_batch_without_knowledge_is_refused(tmp_path, windows):
    cached = cross_fitted(windows, tmp_path)
    for plain in (windows, cached.join(windows, form="top_k")):
        with pytest.raises(ValueError, match="carries no teacher knowledge.*teacher_query_embedd"):
            cached.logits(next(iter(plain.batches(2))), ALL_ITEMS)


def test_the_index_lists_its_shards(tmp_path, windows):
    cross_fitted(windows, tmp_path, temperatures=(1, 2.0))
    facts = json.loads((tmp_path / "cache.json").read_text())
    assert facts["shards"] == [f"shard-0000{fold}-of-00003" for fold in range(3)]
    assert CachedTeacher.open(tmp_path).temperatures == (1.0, 2.0)
