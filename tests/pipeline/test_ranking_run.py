"""Complete runs of a ranking student on planted rows: results, reuse, and kills."""

import csv
import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from tiny_bert import write_tiny_bert
from tiny_films import NUM_ITEMS, write_films

from tfrs_distill import pipeline
from tfrs_distill.data.rated_rows import movielens_ranking
from tfrs_distill.data.unlabelled_rows import unlabelled_rows
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.report.over_runs import over_seeds, read_settings
from tfrs_distill.progress import SilentProgress
from tfrs_distill.serving.artefact import Artefact
from tfrs_distill.serving.ranker import Ranker

STAGES = ["data", "teacher", "knowledge", "twin", "student", "export", "evaluate"]
WITH_UNLABELLED = [*STAGES[:3], "unlabelled", *STAGES[3:]]


def write_reviews(path):
    """A word says whether the customer recommends the coat."""
    random = np.random.default_rng(0)
    names = ["Clothing ID", "Age", "Title", "Review Text", "Rating", "Recommended IND"]
    names += ["Division Name", "Department Name", "Class Name"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in range(240):
            good = int(random.random() < 0.6)
            output = f"{['saloon', 'galaxy'][good]} {'film' if row % 3 else 'king'}"
            rating = random.integers(4, 6) if good else random.integers(1, 4)
            writer.writerow([row % 7, 30 + row % 9, "", output, rating, good, "G", "Tops", "Knits"])
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return write_films(tmp_path_factory.mktemp("films") / "data")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_bert")
    write_tiny_bert(folder)
    return folder


def smaller(recipe, name, folder="", *, epochs=8, controls=(), **sections):
    """The recipe at a size that trains in a second."""
    return replace(
        recipe,
        name=name,
        data=replace(recipe.data, folder=str(folder), max_history=8),
        knowledge=replace(recipe.knowledge, folds=2),
        training=replace(
            recipe.training,
            batch_size=64,
            max_epochs=epochs,
            patience=epochs,
            controls=controls,
        ),
        student=replace(recipe.student, embedding_dim=4, hidden_dim=8),
        evaluation=replace(recipe.evaluation, bootstrap_samples=100),
        twin=replace(recipe.twin, learning_rate=0.03, dropout=0.0),
        distillation=replace(recipe.distillation, learning_rate=0.03, temperature=1.0),
        **sections,
    )


def wide(recipe, epochs=5):
    return replace(
        recipe.teacher,
        embedding_dim=8,
        hidden_dim=16,
        batch_size=64,
        max_epochs=epochs,
        patience=epochs,
        learning_rate=0.03,
        num_models=1,
    )


@pytest.fixture(scope="module")
def recipe(films):
    named = Recipe.named("ranking")
    return smaller(named, "small", films, teacher=wide(named))


class Recorder(SilentProgress):
    """Records the stages and which were reused."""

    def __init__(self):
        self.names, self.reused = [], []

    def stage(self, number, total, name):
        self.names.append(name)

    def done(self, line, seconds, reused):
        self.reused.append(reused)


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    progress = Recorder()
    report = pipeline.run(recipe, out, progress)
    assert progress.names == WITH_UNLABELLED
    assert progress.reused == [False] * len(WITH_UNLABELLED)
    return out / "small", report


def without_timings(report, path=""):
    """The report as {path: value}, without times."""
    if not isinstance(report, dict):
        return {path: report}
    flat = {}
    for key, value in report.items():
        if key not in ("stages", "latency_ms"):
            flat |= without_timings(value, f"{path}/{key}")
    return flat


def test_the_report_has_every_model_with_its_metrics(finished):
    home, report = finished
    assert json.loads((home / "report.json").read_text())["models"].keys() == {
        "teacher",
        "twin",
        "student",
        "saved_model",
        "student_tflite",
        "student_int8",
        "item_mean",
        "bias_only",
    }
    for name, row in report["models"].items():
        result = row["metrics"]
        low, high = result["like"]["auc"]["interval"]
        assert 0 <= low <= result["like"]["auc"]["value"] <= high <= 1, name
        assert result["like"].keys() >= {
            "gauc",
            "log_loss",
            "accuracy",
            "precision",
            "recall",
            "f1",
        }
        rmse, mae = (result["rating"][key]["value"] for key in ("rmse", "mae"))
        assert 0 < rmse < 5 and mae <= rmse
        if name not in ("item_mean", "bias_only"):
            assert row["bytes"] > 0 and row["parameters"] > 0, name
            assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"], name
    page = re.sub(r"<[^>]+>", "", (home / "report.html").read_text(encoding="utf-8"))
    assert report["verdict"] in " ".join(html.unescape(page).split())


def test_the_planted_data_is_learned(finished):
    """The history's ratings identify a user's kind, item means are uninformative; best AUC .95."""
    models = finished[1]["models"]
    auc = {name: row["metrics"]["like"]["auc"]["value"] for name, row in models.items()}
    assert auc["teacher"] > 0.85 and auc["student"] > 0.85 and auc["student_int8"] > 0.85
    assert auc["item_mean"] < 0.65


def test_the_reported_metrics_are_those_of_the_exported_file(finished, films):
    """The `.tflite` file evaluated again; AUC and RMSE by counting pairs and squares in NumPy."""
    home, report = finished
    splits, _ = movielens_ranking(films, max_history=8)
    ranker = Ranker.load(home / "1" / "student.tflite")
    test = splits.test
    output = ranker.score({name: test.features[name] for name in ranker.input_columns})
    like, rating = (test.labels[name].astype(float) for name in ("like", "rating"))
    pairs = output["like"][like == 1][:, None] - output["like"][like == 0][None, :]
    auc = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    result = report["models"]["student_tflite"]["metrics"]
    assert result["like"]["auc"]["value"] == pytest.approx(auc, abs=1e-9)
    rmse = np.sqrt(np.mean((output["rating"] - rating) ** 2))
    assert result["rating"]["rmse"]["value"] == pytest.approx(rmse, rel=1e-6)  # float32 predictions
    yes = output["like"] >= 0.5
    counted = [[((like == truth) & (yes == answer)).sum() for answer in (0, 1)] for truth in (0, 1)]
    assert report["confusion"]["like"]["student_tflite"] == counted


def test_the_share_of_the_teachers_gain_is_computed_from_the_rows(finished):
    result, models = finished[1]["comparisons"], finished[1]["models"]
    for task, metric in (("like", "auc"), ("rating", "rmse")):
        base, teacher, student = (
            models[name]["metrics"][task][metric]["value"]
            for name in ("item_mean", "teacher", "student")
        )
        kept = result["student_vs_teacher"][task]["kept"]
        assert kept == pytest.approx((student - base) / (teacher - base))
        twin = models["twin"]["metrics"][task][metric]["value"]
        assert result["student_vs_twin"][task]["difference"] == pytest.approx(student - twin)
        low, high = result["student_vs_twin"][task]["interval"]
        assert low <= high


def assert_alone_it_is_as_its_report(home, report):
    """The report over one seed, as made by `compare`, has the run's own metrics."""
    (runs,) = read_settings([home])
    found = over_seeds(runs)
    for name, row in report["models"].items():
        for task, figures in row["metrics"].items():
            key = report["tasks"][task]["metric"]
            result, figure = figures[key], found["models"][name]["metrics"][task][key]
            assert figure["by_seed"] == pytest.approx([result["value"]], rel=1e-5), (name, task)
            assert figure["interval"] == pytest.approx(result["interval"], abs=0.1), (name, task)
    for name, by_task in report["comparisons"].items():
        for task, result in by_task.items():
            again = found["comparisons"][name][task]["difference"]
            assert again == pytest.approx(result["difference"], abs=1e-5), (name, task)


def test_a_report_over_one_run_has_its_metrics_and_differences(finished):
    assert_alone_it_is_as_its_report(*finished)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["many", "reviews", "stages"])
def test_a_report_over_one_run_of_every_other_task(name, request):
    assert_alone_it_is_as_its_report(*request.getfixturevalue(name)[:2])


def test_the_artefact_reads_titles_of_films(finished):
    """It contains the films' ids and titles."""
    artefact = Artefact.read(finished[0] / "1")
    assert set(artefact.vocabularies["item_id"]) == {str(item) for item in range(NUM_ITEMS)}
    assert "Film 3 (1990)" in artefact.titles
    score = Ranker.load(finished[0] / "1").score
    history = ["0", "2", "4", "6"]
    requested = {"item_id": ["8", "8"], "history": [history, history]}
    generous, grumpy = score(requested | {"history_ratings": [[5, 5, 4, 5], [1, 2, 1, 3]]})["like"]
    assert generous > 0.5 > grumpy


def test_an_unchanged_run_is_not_run_again(finished, recipe, monkeypatch):
    home, report = finished
    monkeypatch.setattr("tf_keras.Model.fit", lambda *_, **__: pytest.fail("trained again"))
    progress = Recorder()
    again = pipeline.run(recipe, home.parent, progress)
    assert progress.reused == [True] * len(WITH_UNLABELLED)
    assert again == report


@pytest.mark.nightly
def test_a_changed_setting_runs_only_its_stage_and_the_later_ones(finished, recipe):
    changed = replace(recipe, distillation=replace(recipe.distillation, student_loss_weight=0.6))
    progress = Recorder()
    report = pipeline.run(changed, finished[0].parent, progress)
    assert progress.reused == [True] * 5 + [False] * 3
    twins = [result["models"]["twin"]["metrics"] for result in (report, finished[1])]
    assert twins[0] == twins[1]
    assert report["training"]["student"] != finished[1]["training"]["student"]


@pytest.mark.nightly
def test_the_teacher_labels_items_that_users_have_not_rated(finished, recipe, films):
    """The student is trained on them: without them it is a different one."""
    home, report = finished
    splits, _ = movielens_ranking(films, max_history=8)
    rated = set(zip(splits.train.users.tolist(), splits.train.features["item_id"].tolist()))
    drawn = unlabelled_rows(splits.train, 1, seed=recipe.seed)
    assert not rated & set(zip(drawn.users.tolist(), drawn.features["item_id"].tolist()))
    with np.load(home / "stages" / "unlabelled" / "logits.npz") as arrays:
        likes = arrays["like"][:, 0]
    assert len(likes) == len(drawn)
    generous = drawn.users % 2 == 1  # user indices begin at 1, and u0 likes nearly all films
    assert likes[generous].mean() > 1 > -1 > likes[~generous].mean()

    without = replace(recipe, knowledge=replace(recipe.knowledge, unlabelled_per_row=0))
    progress = Recorder()
    again = pipeline.run(without, home.parent, progress)
    assert progress.names == STAGES
    assert progress.reused == [True] * 4 + [False] * 3
    assert again["training"]["twin"] == report["training"]["twin"]
    assert again["training"]["student"] != report["training"]["student"]


@pytest.mark.nightly
def test_a_lost_file_runs_its_stage_again(finished, recipe):
    home, _ = finished
    pipeline.run(recipe, home.parent)
    (home / "1" / "student.tflite").unlink()
    progress = Recorder()
    pipeline.run(recipe, home.parent, progress)
    assert progress.reused == [True] * 6 + [False, True]
    assert (home / "1" / "student.tflite").is_file()


class Interrupted(SilentProgress):
    """A user who presses Ctrl-C at the n-th progress update."""

    def __init__(self, at):
        self.left = at

    def bar(self, description, total):
        progress = self

        class Bar:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return False

            def __call__(self, steps=1, note=""):
                progress.left -= 1
                if progress.left == 0:
                    raise KeyboardInterrupt

        return Bar()


@pytest.mark.nightly
def test_interrupted_repeatedly_it_ends_with_the_same_report(finished, recipe, tmp_path):
    """Each start gets further: into the knowledge, the twin (8 epochs), the student."""
    undisturbed = pipeline.run(recipe, finished[0].parent)
    for at in (6, 7, 13):  # after 5 epochs of the teacher and a fold; after the folds; ...
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(recipe, tmp_path, Interrupted(at))
        assert not (tmp_path / "small" / "report.json").exists()
    resumed = without_timings(pipeline.run(recipe, tmp_path))
    expected = without_timings(undisturbed)
    path = "/models/saved_model/bytes"  # the size of TensorFlow's SavedModel varies by a few bytes
    assert resumed.pop(path) == pytest.approx(expected.pop(path), abs=100)
    assert resumed.keys() == expected.keys()
    assert [path for path in resumed if resumed[path] != expected[path]] == []


def test_a_missing_data_folder_writes_nothing(recipe, tmp_path):
    bad = replace(recipe, data=replace(recipe.data, folder=str(tmp_path / "nothing")))
    with pytest.raises(InputError, match="nothing"):
        pipeline.run(bad, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


# Many tasks


@pytest.fixture(scope="module")
def many(films, tmp_path_factory):
    named = Recipe.named("multitask")
    out = tmp_path_factory.mktemp("many")
    progress = Recorder()
    recipe = smaller(
        named,
        "many",
        films,
        epochs=3,
        controls=("self-taught", "scrambled"),
        teacher=wide(named, 3),
    )
    report = pipeline.run(recipe, out, progress)
    alone = ["twin_of_like", "twin_of_rating", "twin_of_next_item"]
    controls = ["self_taught", "scrambled"]
    before, (student, *after) = STAGES[:4], STAGES[4:]
    assert progress.names == [*before, *alone, "self_knowledge", student, *controls, *after]
    return out / "many", report


@pytest.mark.nightly
def test_each_task_has_a_single_task_twin(many):
    models = many[1]["models"]
    for task in ("like", "rating", "next_item"):
        assert list(models[f"twin_of_{task}"]["metrics"]) == [task]
    compared = many[1]["comparisons"]["student_vs_single_task_twin"]
    for task, metric in (("like", "auc"), ("rating", "rmse"), ("next_item", "ndcg@10")):
        student, twin = (
            models[name]["metrics"][task][metric]["value"]
            for name in ("student", f"twin_of_{task}")
        )
        assert compared[task]["metric"] == metric
        assert compared[task]["difference"] == pytest.approx(student - twin)
        assert compared[task]["interval"][0] <= compared[task]["interval"][1]
    words = many[1]["verdict"]
    assert ("No task is significantly worse than its single-task twin" in words) != (
        "Significantly worse than its single-task twin:" in words
    )


@pytest.mark.nightly
def test_every_task_is_compared_with_its_controls(many):
    report = many[1]
    for control in ("self_taught", "scrambled"):
        assert set(report["models"][control]["metrics"]) == {"like", "rating", "next_item"}
        assert set(report["comparisons"][f"student_vs_{control}"]) == {
            "like",
            "rating",
            "next_item",
        }
    losses = [report["training"][name]["loss"] for name in ("student", "self_taught", "scrambled")]
    assert losses[0] != losses[1] != losses[2] != losses[0]


@pytest.mark.nightly
def test_each_task_has_a_separate_teacher(many):
    training = many[1]["training"]
    assert {"teacher of like", "teacher of rating", "teacher of next_item"} <= training.keys()
    assert len(training["teacher of like"]["validation_score"]) == 3


@pytest.mark.nightly
def test_the_next_item_is_measured_for_models_with_logits(many):
    models = many[1]["models"]
    for name in ("teacher", "twin", "student"):
        result = models[name]["metrics"]["next_item"]
        assert 0 < result["ndcg@10"]["value"] <= result["hit_rate@10"]["value"] <= 1
    assert "next_item" not in models["student_int8"]["metrics"]


# Reviews


@pytest.fixture(scope="module")
def reviews(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews")
    named = Recipe.named("reviews")
    recipe = smaller(
        named,
        "coats",
        write_reviews(folder / "reviews.csv"),
        epochs=20,
        encoder=replace(named.encoder, name=str(encoder), max_length=16),
        teacher=replace(named.teacher, max_epochs=3, learning_rate=5e-3),
        words=replace(named.words, min_count=2, max_words=8, num_bigram_buckets=50),
    )
    return folder / "out" / "coats", pipeline.run(recipe, folder / "out"), recipe


@pytest.mark.nightly
def test_a_bert_teaches_a_student_of_words(reviews):
    home, report, _ = reviews
    models = report["models"]
    auc = {name: row["metrics"]["recommended"]["auc"]["value"] for name, row in models.items()}
    assert auc["teacher"] > 0.9 and auc["student"] > 0.95
    assert auc["item_mean"] < 0.8  # the average of a coat's own reviews
    assert "bias_only" not in auc  # there are no users
    assert report["models"]["student_int8"]["bytes"] < 50_000


@pytest.mark.nightly
def test_the_exported_student_reads_texts(reviews):
    home, _, _ = reviews
    ranker = Ranker.load(home / "1" / "student_int8.tflite")
    output = ranker.score(
        {
            "words": ["galaxy film", "saloon film"],
            "age": [33, None],
            "item_id": ["3", "never seen"],
            "class_name": ["Knits", "Knits"],
        }
    )
    assert output["recommended"][0] > 0.5 > output["recommended"][1]
    assert output["rating"][0] > 3.5 > output["rating"][1]


@pytest.mark.nightly
def test_other_words_are_read_without_training_bert_again(reviews):
    home, _, recipe = reviews
    progress = Recorder()
    fewer = replace(recipe, words=replace(recipe.words, num_bigram_buckets=0))
    pipeline.run(fewer, home.parent, progress)
    assert progress.names == STAGES
    assert progress.reused == [True] * 3 + [False] * 4


@pytest.mark.nightly
def test_reviews_can_be_subsampled_and_split_by_item(reviews, tmp_path):
    recipe = replace(
        reviews[2], data=replace(reviews[2].data, split="item", max_users=120), name="cold"
    )
    report = pipeline.run(recipe, tmp_path)
    assert report["data"]["rows"] == 120
    assert "The test items are in no training row" in report["protocol"]["split"]
    assert report["resampled"]["what"] == "test rows"  # a review is its own user


# Two stages


@pytest.fixture(scope="module")
def stages(encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("stages")
    named, planted = Recipe.named("two-stage"), Recipe.named("synthetic")
    recipe = smaller(
        named,
        "stages",
        epochs=3,
        controls=("plain", "self-taught", "scrambled"),
        teacher=replace(planted.teacher, embedding_dim=8, max_epochs=2),
        encoder=replace(named.encoder, name=str(encoder)),
        cross_encoder=replace(named.cross_encoder, steps=3, max_length=32, num_negatives=3),
        lists=replace(
            named.lists, num_candidates=20, list_size=8, num_lists=120, num_ordered_lists=30
        ),
    )
    recipe = replace(recipe, data=replace(recipe.data, source="synthetic"))
    progress = Recorder()
    report = pipeline.run(recipe, out, progress)
    assert progress.names == [
        *("data", "teacher", "knowledge", "retrieval", "cross-encoder", "lists"),
        *("twin", "self_knowledge", "self_taught", "scrambled", "student", "export", "evaluate"),
    ]
    return out / "stages", report, recipe


@pytest.mark.nightly
def test_two_stages_are_measured_and_each_stage(stages):
    home, report, _ = stages
    ndcg = {}
    controls, forms = ("twin", "self_taught", "scrambled"), ("student_tflite", "student_int8")
    for name in ("retrieval", "student", "teacher", *controls, *forms):
        row = report["models"][name]
        ndcg[name] = row["metrics"]["relevance"]["ndcg@10"]["value"]
        assert 0 < ndcg[name] <= 1
        assert row["bytes"] > 0 and 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"], name
    result = report["comparisons"]
    others = ("retrieval", "teacher", "twin", "self_taught", "scrambled")
    for name in (f"student_vs_{other}" for other in others):
        other = name.removeprefix("student_vs_")
        found = result[name]["relevance"]["difference"]
        assert found == pytest.approx(ndcg["student"] - ndcg[other], abs=1e-9)
    assert ndcg["student_tflite"] == pytest.approx(ndcg["student"], abs=0.02)  # ties may be swapped
    assert "Two stages: NDCG@10" in report["verdict"]
    columns = [column["of"] for column in report["lists"]["users"][0]["lists"]]
    assert columns == ["Teachers", "Two stages", "Two stages, twin", "Retrieval alone"]
    page = re.sub(r"<[^>]+>", "", (home / "report.html").read_text(encoding="utf-8"))
    assert report["verdict"] in " ".join(html.unescape(page).split())


@pytest.mark.nightly
def test_an_unchanged_two_stage_run_is_not_run_again(stages, monkeypatch):
    home, report, recipe = stages
    monkeypatch.setattr("tf_keras.Model.fit", lambda *_, **__: pytest.fail("trained again"))
    progress = Recorder()
    assert pipeline.run(recipe, home.parent, progress) == report
    assert progress.reused == [True] * 13
