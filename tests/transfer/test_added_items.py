"""New items in an exported student, by their text alone: every form, float64, and bad input."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from under_threads import assert_same_under_threads

from tfrs_distill import cli
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact
from tfrs_distill.models import (
    HistoryFeature,
    ItemFeature,
    RankingStudent,
    RetrievalStudent,
    TwoStageStudent,
)
from tfrs_distill.models.tasks import Binary
from tfrs_distill.serving.recommender import Recommender
from tfrs_distill.serving.word_pieces import WordPieces

WORDS = ("space", "robot", "war", "love", "wedding", "song", "horse", "sheriff", "gun", "dragon")
NUM_ITEMS = 40
PIECES = WordPieces(WORDS, max_pieces=6)


def texts_of(number, seed):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, 3, replace=False)) for _ in range(number)]


CATALOGUE = Catalogue(
    tuple(f"i{number}" for number in range(1, NUM_ITEMS + 1)),
    tuple(f"Film {number} (1999)" for number in range(1, NUM_ITEMS + 1)),
    tuple(texts_of(NUM_ITEMS, 0)),
)


def new_student(**kwargs):
    """A student with known random weights."""
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS, max_history=5, embedding_dim=4, seed=0, **kwargs
    )
    random = np.random.default_rng(1)
    weights = [
        w if w.dtype == np.int32 else 0.3 * random.normal(size=w.shape)
        for w in student.get_weights()
    ]
    student.set_weights(weights)
    return student


STUDENT = new_student(texts=CATALOGUE.texts, word_pieces=PIECES)
ADDED = ["robot war space", "love song", "dragon unheard"]


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "films" / "1"
    return export_artefact(STUDENT, folder, CATALOGUE, k=20)


@pytest.fixture(params=["tflite", "saved_model"])
def recommender(request, artefact):
    return Recommender.load(artefact.folder, format=request.param)


def expected(history, k, num_added=3):
    """Scores and items of a history that may hold added items, by the towers alone, in float64."""
    added = STUDENT.candidate_tower.embed_texts(tf.constant(PIECES.encode(ADDED[:num_added])))
    table = np.concatenate([STUDENT.catalogue_embeddings(), added]).astype(np.float64)
    last = history[-5:]
    embeddings = tf.constant(np.pad(table[last, :-1], [(5 - len(last), 0), (0, 0)])[None])
    mask = tf.constant([[False] * (5 - len(last)) + [True] * len(last)])
    query = STUDENT.query_tower.encoder.last(tf.cast(embeddings, tf.float32), mask).numpy()[0]
    scores = table @ np.append(np.float64(query), 1.0)
    left = [item for item in range(1, len(table)) if item not in set(history)]
    best = sorted(left, key=lambda item: -scores[item])[:k]
    return scores[best], best


def test_added_items_are_scored_by_the_text_tower(recommender):
    recommender.add_items(ADDED)
    histories = [[3, 7], [NUM_ITEMS + 1], [1, 2, 3, 4, 5, 6, NUM_ITEMS + 2, NUM_ITEMS + 3]]
    scores, items = recommender([np.array(history) for history in histories], 20)
    for row, history in enumerate(histories):
        wanted, best = expected(history, 20)
        np.testing.assert_allclose(scores[row], wanted, atol=1e-4)
        np.testing.assert_array_equal(items[row], best)


def test_added_items_have_names_in_recommendations_and_histories(recommender):
    recommender.add_items(ADDED[:1], titles=["Iron War (2026)"], item_ids=["n1"])
    recommender.add_items(ADDED[1:])
    assert recommender.artefact.num_items == NUM_ITEMS + 3
    answer = recommender.recommend(["iron war", "Film 3", "love song"], k=20)
    _, best = expected([NUM_ITEMS + 1, 3, NUM_ITEMS + 2], 20)
    assert [item.item_id for item in answer] == [recommender.artefact.item_ids[i - 1] for i in best]
    assert "n1" not in [item.item_id for item in answer]  # it is in the history
    (found,) = [item for item in recommender.recommend([], k=20) if item.item_id == "n1"] or [None]
    assert found is None or found.title == "Iron War (2026)"


def test_the_student_in_8_bits_ranks_them_equally(artefact):
    recommender = Recommender.load(artefact.folder / "student_int8.tflite")
    recommender.add_items(ADDED)
    scores, items = recommender([np.array([3, 7])], 20)
    wanted, best = expected([3, 7], 20)
    assert len(set(items[0]) & set(best)) >= 17
    np.testing.assert_allclose(scores[0], wanted, atol=0.05)


def test_the_file_holds_every_item_once_and_the_text_tower(artefact):
    """The same student without texts, plus the text tower's numbers and operators."""
    alone = new_student()
    folder = artefact.folder.parent / "2"
    export_artefact(alone, folder, CATALOGUE, k=20)
    sizes = [
        [(at / name).stat().st_size for name in ("student.tflite", "student_int8.tflite")]
        for at in (artefact.folder, folder)
    ]
    tower = STUDENT.candidate_tower.text_tower.count_params()
    assert sizes[0][0] - sizes[1][0] < 4 * tower + 25_000


def test_the_artefact_is_not_changed(artefact):
    before = {path: path.read_bytes() for path in artefact.folder.rglob("*") if path.is_file()}
    recommender = Recommender.load(artefact.folder)
    without = recommender.recommend(["i1"], k=20)
    recommender.add_items(ADDED)
    assert {path: path.read_bytes() for path in before} == before
    assert Recommender.load(artefact.folder).recommend(["i1"], k=20) == without


def test_items_are_added_under_threads(artefact):
    recommender = Recommender.load(artefact.folder)
    recommender.add_items(ADDED)

    def call(number):
        scores, items = recommender([np.array([number + 1, NUM_ITEMS + 1 + number % 3])], 20)
        return {"scores": scores, "items": items}

    assert_same_under_threads(call, 40)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"texts": ["robot"], "item_ids": ["i3"]}, "An item with the id 'i3' exists already"),
        ({"texts": ["robot", "robot"]}, "An item with the id 'robot' exists already"),
        ({"texts": ["robot", " "]}, "item ' ' without one"),
        ({"texts": ["robot", "unheard"]}, "has no word of the text 'unheard'"),
        ({"texts": ["robot"], "titles": ["a", "b"]}, "Received: 1, 2 and 2"),
        ({"texts": ["robot", "war"], "item_ids": ["a"]}, "Received: 2, 2 and 1"),
    ],
)
def test_an_invalid_new_item_adds_none(artefact, arguments, words):
    recommender = Recommender.load(artefact.folder)
    with pytest.raises(InputError, match=words):
        recommender.add_items(**arguments)
    assert recommender.artefact.num_items == NUM_ITEMS


def test_an_empty_list_adds_none(artefact):
    recommender = Recommender.load(artefact.folder)
    recommender.add_items([])
    assert recommender.artefact.num_items == NUM_ITEMS
    assert recommender.recommend(["i1"]) == Recommender.load(artefact.folder).recommend(["i1"])


def test_two_threads_that_add_at_once_lose_nothing(artefact):
    recommender = Recommender.load(artefact.folder)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: recommender.add_items(["robot"], item_ids=[f"n{n}"]), range(40)))
    assert set(recommender.artefact.item_ids[NUM_ITEMS:]) == {f"n{n}" for n in range(40)}


def test_one_text_is_not_a_list_of_texts(artefact):
    with pytest.raises((InputError, TypeError), match="texts"):
        Recommender.load(artefact.folder).add_items("robot war")


def test_a_student_of_ids_alone_adds_none(tmp_path):
    export_artefact(new_student(), tmp_path / "1", CATALOGUE, k=5)
    with pytest.raises(InputError, match="uses item ids alone"):
        Recommender.load(tmp_path / "1").add_items(["robot"])


def test_two_stages_add_none(tmp_path):
    items = ItemFeature(NUM_ITEMS, 4)
    ranker = RankingStudent(
        [items, HistoryFeature(items, 5, reads_ratings=False)], [Binary("like")]
    )
    ranker({"history": tf.constant([[1]]), "item_id": tf.constant([2])})
    two_stages = TwoStageStudent(STUDENT, ranker, num_candidates=5)
    export_artefact(two_stages, tmp_path / "1", CATALOGUE)
    with pytest.raises(InputError, match="ranking stage cannot score them"):
        Recommender.load(tmp_path / "1").add_items(["robot"])


def test_a_changed_vocabulary_is_refused(artefact, tmp_path):
    copy = tmp_path / "1"
    shutil.copytree(artefact.folder, copy)
    pieces = copy / "words" / "pieces.txt"
    pieces.write_text(pieces.read_text().replace("robot", "rabbi"))
    with pytest.raises(InputError, match=r"pieces\.txt is changed"):
        Recommender.load(copy)


def test_the_command_recommends_a_new_item(artefact, capsys):
    options = ["--history", "Film 3", "--add-item", "robot war space", "-k", "20", "--json"]
    assert cli.main(["recommend", str(artefact.folder), *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    _, best = expected([3], 20, num_added=1)
    assert [item["item_id"] for item in answer] == [
        "robot war space" if item > NUM_ITEMS else f"i{item}" for item in best
    ]
