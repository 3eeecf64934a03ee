"""The table of export forms, over which measuring, timing and reporting loop."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
from planted_ranking_student import hand_student
from planted_student import PlantedStudent, catalogue_of

from tfrs_distill.errors import InputError
from tfrs_distill.export import export_artefact
from tfrs_distill.export.forms import FORMS
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.serving.recommender import Recommender

STUDENT, CATALOGUE = PlantedStudent(), catalogue_of(60)


def test_the_reference_form_comes_first_and_keys_are_those_of_the_forms():
    assert list(FORMS) == ["saved_model", "student_tflite", "student_int8"]
    assert [form.key for form in FORMS.values()] == list(FORMS)
    assert len({form.file for form in FORMS.values()}) == len(FORMS)


def test_every_form_of_an_artefact_is_opened_and_its_size_measured(tmp_path):
    retrieval = export_artefact(STUDENT, tmp_path / "1", CATALOGUE, k=5)
    export_artefact(hand_student(), tmp_path / "2")
    for form in FORMS.values():
        _, items = form.load(tmp_path / "1", Recommender)([np.array([1, 2])], 5)
        assert items.shape == (1, 5)
        rows = {"user_id": [1], "item_id": [2]}
        assert form.load(tmp_path / "2", Ranker).score(rows)["like"].shape == (1,)
        assert form.num_bytes(tmp_path / "1") == retrieval.bytes_of(form.file) > 0


def test_without_order_every_form_gives_equal_scores_for_any_order_of_a_history(tmp_path):
    student = RetrievalStudent.from_history(
        num_items=60, max_history=4, embedding_dim=8, reads_order=False, seed=0
    )
    random = np.random.default_rng(0)
    for weight in student.trainable_weights:
        weight.assign(random.normal(size=weight.shape))
    student.save(tmp_path / "student.keras")
    loaded = tf.keras.models.load_model(tmp_path / "student.keras")
    export_artefact(loaded, tmp_path / "1", CATALOGUE, k=5)
    orders = [np.array(order) for order in itertools.permutations([7, 3, 9, 50])]
    expected = student.encode_histories(tf.constant(orders[:1])).numpy()
    scores = (expected @ student.catalogue_embeddings().numpy().T)[0]
    scores[[0, 7, 3, 9, 50]] = -np.inf
    for form in FORMS.values():
        recommend = form.load(tmp_path / "1", Recommender)
        tolerance = 0.05 if form.key == "student_int8" else 1e-4
        for order in orders:
            found, items = recommend([order], 5)
            np.testing.assert_allclose(found[0], scores[items[0]], atol=tolerance * np.ptp(found))
        newest = np.array([1, 2, *orders[0]])  # the last four of six are read
        found, items = recommend([newest], 5)
        np.testing.assert_allclose(found[0], scores[items[0]], atol=tolerance * np.ptp(found))


def test_sizes_of_both_stages_are_measured(tmp_path):
    sizes = {
        "saved_model.pb": 1,
        "variables/variables.data-00000-of-00001": 10,
        "variables/variables.index": 100,
        "student.tflite": 1000,
        "ranking/saved_model.pb": 2,
        "ranking/variables/variables.data-00000-of-00001": 20,
        "ranking/student.tflite": 2000,
    }
    files = {name: {"bytes": size} for name, size in sizes.items()}
    (tmp_path / "provenance.json").write_text(json.dumps({"files": files}))
    assert FORMS["saved_model"].num_bytes(tmp_path) == 33
    assert FORMS["student_tflite"].num_bytes(tmp_path) == 3000


@pytest.mark.parametrize(
    "student, arguments, words",
    [
        (hand_student, {"k": 5}, "A ranking student scores .* no `k`. Received: k=5"),
        (PlantedStudent, {}, "needs the `catalogue` .* Received: catalogue=None"),
        (PlantedStudent, {"catalogue": CATALOGUE, "vocabularies": {}}, "takes no `vocabularies`"),
    ],
)
def test_an_argument_of_the_other_kind_of_student_is_refused(tmp_path, student, arguments, words):
    with pytest.raises(InputError, match=words):
        export_artefact(student(), tmp_path / "1", **arguments)
    assert not list(tmp_path.iterdir())
