"""Every kind of teacher that a recipe can name, from the command line to the report."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import write_tiny_bert

from tfrs_distill import pipeline
from tfrs_distill.cli import main
from tfrs_distill.data.splits import split_by_time
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.sections import TeacherSettings
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.source import read_data
from tfrs_distill.pipeline.stages import stages_of
from tfrs_distill.pipeline.tasks import make_tasks
from tfrs_distill.pipeline.teacher_kinds import EnsembleOf, TeacherContext, teacher_kind
from tfrs_distill.pipeline.teacher_kinds.adapted_encoder import adapted_text_vectors
from tfrs_distill.progress import SilentProgress
from tfrs_distill.teachers import (
    FunctionTeacher,
    TextEncoder,
    fit_temperature,
    held_out_windows,
)

PLANTED = synthetic(seed=0)
SMALL = """
name = "small"
[data]
{data}
max_history = 12
[teacher]
embedding_dim = 8
max_epochs = 2
{teacher}
[encoder]
name = "{encoder}"
[tuning]
steps = 3
{tuning}
[cross_encoder]
steps = 3
num_candidates = 3
max_length = 32
[knowledge]
folds = 2
top_k = 350
[student]
embedding_dim = 4
[training]
max_epochs = 2
[evaluation]
bootstrap_samples = 100
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BERT, a SavedModel encoder, planted data in files, and the teachers' other inputs."""
    folder = tmp_path_factory.mktemp("kinds")
    write_tiny_bert(folder / "bert")
    write_saved_model(folder / "hub")
    write_data(folder / "data")
    random = np.random.default_rng(0)
    np.savez(
        folder / "scores.npz",
        query_ids=np.array(PLANTED.user_ids),
        item_ids=np.array(PLANTED.catalogue.item_ids),
        scores=random.normal(size=[PLANTED.num_users, PLANTED.catalogue.num_items]),
    )
    (folder / "mine.py").write_text(
        "import tensorflow as tf\n"
        "from tfrs_distill.teachers import FunctionTeacher\n\n\n"
        "def first_items_best(windows, seed):\n"
        "    def said(batch, candidate_ids):\n"
        "        rows = tf.math.count_nonzero(batch['labels'], dtype=tf.int32)\n"
        "        return tf.tile(-tf.cast(candidate_ids, tf.float32)[None], [rows, 1])\n\n"
        "    return FunctionTeacher(said, fingerprint='first items best')\n\n\n"
        "def nothing(windows, seed):\n"
        "    return None\n"
    )
    return folder


def write_saved_model(folder):
    """Texts to [length of the text / 50, 1]."""

    class Lengths(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, texts):
            lengths = tf.cast(tf.strings.length(texts), tf.float32) / 50.0
            return tf.stack([lengths, tf.ones_like(lengths)], axis=1)

    tf.saved_model.save(Lengths(), str(folder))


def write_data(folder):
    """The planted data as RecBole files: years, genres by block, and a graph of the blocks."""
    folder.mkdir()
    items = PLANTED.catalogue.item_ids
    blocks = PLANTED.item_blocks[1:]
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user, item, rating, time in zip(
        PLANTED.users, PLANTED.items, PLANTED.ratings, PLANTED.timestamps
    ):
        lines.append(f"{PLANTED.user_ids[user]}\t{items[item - 1]}\t{rating}\t{time}")
    (folder / "tiny.inter").write_text("\n".join(lines) + "\n")
    lines = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    for item, title, block in zip(items, PLANTED.catalogue.titles, blocks):
        lines.append(f"{item}\t{title}\t{1990 + block}\tGenre{block}")
    (folder / "tiny.item").write_text("\n".join(lines) + "\n")
    lines = ["head_id:token\trelation_id:token\ttail_id:token"]
    lines += [f"e{item}\tof\tblock{block}" for item, block in zip(items, blocks)]
    (folder / "tiny.kg").write_text("\n".join(lines) + "\n")
    lines = ["item_id:token\tentity_id:token"] + [f"{item}\te{item}" for item in items]
    (folder / "tiny.link").write_text("\n".join(lines) + "\n")


KINDS = {
    "modalities with LoRA after masked words": {
        "data": 'source = "movielens-100k"\nfolder = "{folder}/data"',
        "teacher": 'kind = "two-tower"\nmodalities = ["text", "attributes", "knowledge-graph"]',
        "tuning": 'method = "lora"\npretrain_steps = 2',
    },
    "a SavedModel encoder": {"encoder": "hub", "tuning": "[item_texts]\nread = false"},
    "cross-encoder over ids alone": {"teacher": 'kind = "cross-encoder"\nmodalities = []'},
    "item-item": {"teacher": 'kind = "item-item"'},
    "ensemble of array and item-item": {
        "teacher": 'kind = "ensemble"\nmembers = ["array", "item-item"]\n'
        'source = "{folder}/scores.npz"'
    },
    "ensemble of closed forms": {
        "teacher": 'kind = "ensemble"\nmembers = ["item-item", "next-item-ridge", "als"]'
    },
    "python": {"teacher": 'kind = "python"\nsource = "{folder}/mine.py:first_items_best"'},
}


def recipe_file(
    folder,
    tmp_path,
    data='source = "synthetic"',
    teacher='kind = "two-tower"',
    encoder="bert",
    tuning="",
):
    text = SMALL.format(data=data, teacher=teacher, encoder=folder / encoder, tuning=tuning)
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace("{folder}", str(folder)))
    return path


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_each_kind_of_teacher(folder, tmp_path, kind, capsys):
    path = recipe_file(folder, tmp_path, **KINDS[kind])
    assert main(["run", "--recipe", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "Try it:" in capsys.readouterr().out
    home = tmp_path / "out" / "small"
    report = json.loads((home / "report.json").read_text())
    teacher = report["models"]["teacher"]
    ndcg = teacher["metrics"]["next_item"]["ndcg@10"]["value"]
    assert 0 <= ndcg <= 1 and teacher["latency_ms"]["p50"] > 0
    assert (home / "1" / "student.tflite").is_file()
    result = report["teachers"]["models"]
    recipe = Recipe.from_toml(path)
    members = recipe.teacher.members if kind.startswith("ensemble") else ()
    assert list(result) == ["teacher", *members, "twin"]
    assert all(result[name]["calibration"]["negative_log_likelihood"] > 0 for name in result)
    assert "The teachers compared" in (home / "report.html").read_text()
    knowledge = home / "stages" / "knowledge"
    assert [child.name for child in knowledge.iterdir() if child.is_dir()] == ["cache"]
    if kind == "item-item":  # it is determined by counting and a matrix inverse alone
        ease = report["models"]["ease"]["metrics"]["next_item"]["ndcg@10"]["value"]
        assert ndcg == pytest.approx(ease, abs=1e-9)


@pytest.mark.parametrize("kind", ["item-item", "next-item-ridge", "als"])
def test_a_closed_form_is_tuned_calibrated_and_solved_for_a_fold(
    folder, tmp_path, monkeypatch, kind
):
    if kind == "als":
        pytest.importorskip("implicit")
        monkeypatch.setattr(
            "tfrs_distill.evaluation.baselines.recommenders.ALS_GRID",
            {"decay": (4.0, None), "l2": (10.0,), "confidence": (4.0,)},
        )
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path, teacher=f'kind = "{kind}"'))
    splits = split_by_time(PLANTED, max_history=12)
    made = teacher_kind(
        TeacherContext(
            recipe, RetrievalData(PLANTED, splits), [], SilentProgress(), tmp_path / "item_vectors"
        )
    )
    made.settings()
    facts = made.train(tmp_path)
    whole = made.open(tmp_path)
    chosen = whole.teacher.settings
    assert facts["parameters"] == whole.teacher.num_parameters == facts["bytes"] / 4
    assert f"decay {chosen['decay']:g}" in facts["line"] and f"l2 {chosen['l2']:g}" in facts["line"]
    fold = made.train_fold(splits.train.subset(splits.train.users % 2 == 0), 0, tmp_path, tmp_path)
    assert fold.teacher.settings == chosen and fold.temperature == whole.temperature
    assert fold.fingerprint() != whole.fingerprint()
    held_out = held_out_windows(splits.validation, max_history=12)
    assert fit_temperature(whole, held_out).temperature == pytest.approx(1.0, rel=0.01)


def test_a_two_tower_is_smoothed_calibrated_and_trained_equally_for_a_fold(folder, tmp_path):
    teacher = 'kind = "two-tower"\nmodalities = []\nlabel_smoothing = 0.4'
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path, teacher=teacher))
    splits = split_by_time(PLANTED, max_history=12)
    made = teacher_kind(
        TeacherContext(
            recipe, RetrievalData(PLANTED, splits), [], SilentProgress(), tmp_path / "item_vectors"
        )
    )
    made.settings()
    facts = made.train(tmp_path)
    whole = made.open(tmp_path)
    assert whole.teacher.label_smoothing == 0.4
    assert facts["line"].endswith(f"at temperature {whole.temperature:.3g}")
    held_out = held_out_windows(splits.validation, max_history=12)
    assert fit_temperature(whole, held_out).temperature == pytest.approx(1.0, rel=0.01)
    some = splits.train.subset(splits.train.users % 2 == 0)
    (tmp_path / "fold").mkdir()
    fold = made.train_fold(some, 0, tmp_path, tmp_path / "fold")
    again = made.train_fold(some, 0, tmp_path, tmp_path / "fold")  # after an interrupt
    assert fold.temperature == whole.temperature and fold.teacher.label_smoothing == 0.4
    assert fold.fingerprint() == again.fingerprint() != whole.fingerprint()
    # Read as the first stage of a cross-encoder, whose second stage is trained on it.
    opened = made.open(tmp_path / "fold")
    assert opened.fingerprint() == fold.fingerprint()
    assert opened.temperature == whole.temperature


@pytest.mark.nightly
def test_a_teacher_continues_with_new_items(folder, tmp_path):
    """Trained on some items; then all, with the others at the end as in an update."""
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path, teacher='kind = "ensemble"'))
    some = 50
    early = PLANTED.subset(PLANTED.items <= some)
    first = replace(
        PLANTED.catalogue,
        **{
            name: getattr(PLANTED.catalogue, name)[:some]
            for name in ("item_ids", "titles", "texts")
        },
    )

    def kind_of(interactions):
        splits = split_by_time(interactions, max_history=12)
        data = RetrievalData(interactions, splits)
        return teacher_kind(TeacherContext(recipe, data, [], SilentProgress(), tmp_path))

    for name in ("before", "extended", "after"):
        (tmp_path / name).mkdir()
    before, whole = kind_of(replace(early, catalogue=first)), kind_of(early)
    before.train(tmp_path / "before")
    whole.extend(tmp_path / "before", tmp_path / "extended")
    old = before.open(tmp_path / "before")
    extended = whole.open(tmp_path / "extended")
    history = tf.constant([[0] * 10 + [4, 9]])
    batch = {"history": history, "labels": tf.constant([[0] * 11 + [1]])}
    known = tf.range(1, some + 1)
    for one, other in zip(old.teachers, extended.teachers):
        np.testing.assert_allclose(
            one.logits(batch, known), other.logits(batch, known), rtol=1e-4, atol=1e-4
        )
    two_tower = extended.teachers[0].teacher
    vectors = two_tower.candidate_tower.item_text_vectors()
    assert vectors.shape[0] == PLANTED.catalogue.num_items
    expected = TextEncoder(folder / "bert").encode(PLANTED.catalogue.texts[some:])
    np.testing.assert_allclose(vectors[some:], expected, rtol=1e-5, atol=1e-5)
    facts = kind_of(PLANTED).train_further(tmp_path / "extended", tmp_path / "after", max_epochs=1)
    assert len(facts["members"]["two-tower"]["curves"]["loss"]) == 1
    after = kind_of(PLANTED).open(tmp_path / "after")
    settings = [teacher.teachers[1].teacher.settings for teacher in (old, after)]
    assert settings[0] == settings[1]  # of EASE, solved again
    assert after.fingerprint() != extended.fingerprint()


def test_a_teacher_with_other_settings_does_not_encode_the_texts_again(
    folder, tmp_path, monkeypatch
):
    encode, read = TextEncoder.encode, []

    def counted(encoder, texts, **arguments):
        read.extend(texts)
        return encode(encoder, texts, **arguments)

    monkeypatch.setattr(TextEncoder, "encode", counted)
    data = RetrievalData(PLANTED, split_by_time(PLANTED, max_history=12))

    def vectors_of(name, **sections):
        recipe = Recipe.from_toml(recipe_file(folder, tmp_path, **sections))
        context = TeacherContext(recipe, data, [], SilentProgress(), tmp_path / "item_vectors")
        (tmp_path / name).mkdir()
        return adapted_text_vectors(context, pytest.fail, tmp_path / name)[0]

    two_tower = 'kind = "two-tower"\n'
    first = vectors_of("first", teacher=two_tower)
    assert sorted(read) == sorted(set(PLANTED.catalogue.texts))
    np.testing.assert_allclose(first, encode(TextEncoder(folder / "bert"), PLANTED.catalogue.texts))
    np.testing.assert_array_equal(vectors_of("second", teacher=two_tower + "dropout = 0.5"), first)
    assert len(read) == len(set(PLANTED.catalogue.texts))
    other = vectors_of("third", teacher=two_tower, tuning="pretrain_steps = 2")  # another BERT
    assert not np.allclose(other, first)


@pytest.mark.parametrize("tuning", ['method = "lora"', "pretrain_steps = 2"])
def test_a_tuned_teacher_does_not_continue(folder, tmp_path, tuning):
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path, tuning=tuning))
    data = RetrievalData(PLANTED, split_by_time(PLANTED, max_history=12))
    kind = teacher_kind(TeacherContext(recipe, data, [], SilentProgress(), tmp_path))
    with pytest.raises(InputError, match=r"of a tuned BERT cannot continue from an earlier run"):
        kind.extend(tmp_path, tmp_path)


def test_als_without_its_library_is_refused_before_training(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit", None)
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path, teacher='kind = "als"'))
    with pytest.raises(MissingExtraError, match=r'pip install "tfrs-distill\[als\]"'):
        pipeline.run(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "small" / "stages" / "teacher").exists()


def test_teachers_of_candidates_are_combined_by_the_geometric_mean(folder, tmp_path):
    class Constant:
        def __init__(self, *logits):
            self.open = lambda _: FunctionTeacher(lambda batch, ids: tf.constant([logits]))

    recipe = Recipe.from_toml(recipe_file(folder, tmp_path))
    context = TeacherContext(recipe, None, [], SilentProgress(), tmp_path)
    members = {"one": Constant(np.log(16.0), 0.0), "other": Constant(0.0, 0.0)}
    logits = EnsembleOf(context, members).open(tmp_path).logits({}, tf.range(2))
    np.testing.assert_allclose(np.exp(logits), [[4 / 5, 1 / 5]], rtol=1e-6)  # 16**(1/2) to 1


@pytest.mark.nightly
def test_lora_weights_are_kept_as_a_small_file(folder, tmp_path):
    path = recipe_file(folder, tmp_path, tuning='method = "lora"\nrank = 2')
    recipe = Recipe.from_toml(path)
    facts = train_only(recipe, tmp_path)
    # Rank 2 on query and value of 2 layers of width 16: 2 * 2 * 2 * (16 + 16) numbers.
    assert facts["encoder"]["tuned_parameters"] == 256
    from tfrs_distill.teachers import TextEncoder, attach_saved

    attach_saved(TextEncoder(folder / "bert"), tmp_path / "teacher" / "tuned_bert.safetensors")


def train_only(recipe, tmp_path):
    """The teacher stage alone."""
    splits = split_by_time(PLANTED, max_history=recipe.data.max_history)
    data = RetrievalData(PLANTED, splits)
    kind = teacher_kind(TeacherContext(recipe, data, [], SilentProgress(), tmp_path))
    kind.settings()
    (tmp_path / "teacher").mkdir()
    return kind.train(tmp_path / "teacher")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"modalities": (), "tuning": "lora"}, r'`teacher.modalities` has no "text"'),
        ({"modalities": ("attributes",)}, "Data of the source 'synthetic' has no attributes"),
        ({"encoder": "hub", "reads": True}, "an encoder from TF-Hub has none to read"),
        ({"encoder": "hub", "tuning": "lora"}, "an encoder from TF-Hub stays frozen"),
        ({"encoder": "hub", "kind": "cross-encoder"}, "an encoder from TF-Hub cannot read pairs"),
        ({"kind": "array", "source": "no.npz"}, "no.npz does not exist or is not a file"),
        ({"kind": "python", "source": "mine.txt:f"}, "must be FILE.py:FUNCTION, of a file that"),
        ({"kind": "python", "source": "{folder}/mine.py:g"}, "mine.py has no function 'g'"),
        (
            {"kind": "python", "source": "{folder}/broken.py:f"},
            "cannot be run: NameError: name 'x'",
        ),
    ],
)
def test_invalid_settings_are_refused_before_training(folder, tmp_path, changes, words):
    (folder / "broken.py").write_text("x\n")
    changes = {
        key: value.replace("{folder}", str(folder)) if isinstance(value, str) else value
        for key, value in changes.items()
    }
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path, encoder=changes.pop("encoder", "bert")))
    recipe = replace(
        recipe,
        tuning=replace(recipe.tuning, method=changes.pop("tuning", "none")),
        item_texts=replace(recipe.item_texts, read=changes.pop("reads", False)),
    )
    recipe = replace(recipe, teacher=replace(recipe.teacher, **changes))
    with pytest.raises(InputError, match=words):
        pipeline.run(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "small" / "stages" / "teacher").exists()


def test_films_without_a_graph_are_named_before_training(folder, tmp_path):
    write_data(tmp_path / "films")
    (tmp_path / "films" / "tiny.kg").unlink()
    data = f'source = "movielens-1m"\nfolder = "{tmp_path / "films"}"'
    teacher = 'kind = "two-tower"\nmodalities = ["text", "knowledge-graph"]'
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path, data=data, teacher=teacher))
    with pytest.raises(InputError, match=r"There is no knowledge graph, NAME\.kg, in .*films"):
        pipeline.run(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "small" / "stages" / "teacher").exists()


def test_a_function_without_a_teacher_is_named(folder, tmp_path):
    source = f"{folder}/mine.py:nothing"
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path))
    recipe = replace(recipe, teacher=TeacherSettings(kind="python", source=source))
    with pytest.raises(InputError, match="NoneType without logits and fingerprint"):
        train_only(recipe, tmp_path)


# Of rows


class Films:
    """Rows of 30 users and 10 films, liked where both numbers are even or both odd."""

    def __init__(self, folder):
        self.folder = folder / "films"
        self.folder.mkdir(exist_ok=True)
        films = "".join(f"{n}\tFilm {n}\t1990\n" for n in range(10))
        header = "item_id:token\ttitle:token_seq\tyear:token\n"
        (self.folder / "a.item").write_text(header + films)
        rows = "".join(
            f"u{user}\t{film}\t{5 - 4 * ((user + film) % 2)}\t{10**9 + 60 * film}\n"
            for user in range(30)
            for film in range(10)
        )
        header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        (self.folder / "a.inter").write_text(header + rows)
        users, items = np.meshgrid(np.arange(30), np.arange(10), indexing="ij")
        self.likes = np.where((users + items) % 2, -3.0, 3.0).ravel()
        np.savez(
            folder / "likes.npz",
            user_id=np.char.add("u", users.ravel().astype(str)),
            item_id=items.ravel().astype(str),
            like=self.likes,
        )
        (folder / "rows.py").write_text(
            "import numpy as np\n\n\n"
            "class Mean:\n"
            "    def __init__(self, examples):\n"
            "        self.logit = float(np.nanmean(examples.labels['like']))\n\n"
            "    def row_logits(self, examples):\n"
            "        return {'like': np.full([len(examples), 1], self.logit, np.float32)}\n\n\n"
            "def mean(examples, seed):\n"
            "    return Mean(examples)\n"
        )

    def recipe(self, *, tasks=("like",), **teacher):
        named = Recipe.named("ranking")
        return replace(
            named,
            data=replace(named.data, folder=str(self.folder), max_history=4),
            teacher=replace(named.teacher, **teacher),
            knowledge=replace(named.knowledge, unlabelled_per_row=0),
            labels=replace(named.labels, tasks=tasks),
        )

    def kind(self, **teacher):
        recipe = self.recipe(**teacher)
        data = read_data(recipe)
        tasks, vectors = make_tasks(recipe, data), self.folder / "item_vectors"
        context = TeacherContext(recipe, data, tasks, SilentProgress(), vectors)
        return teacher_kind(context), data.splits


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    return folder, Films(folder)


def test_predictions_in_a_file_teach_rows(films, tmp_path):
    folder, rows = films
    kind, splits = rows.kind(kind="array", source=str(folder / "likes.npz"))
    facts = kind.train(tmp_path)
    assert facts["line"] == "the predictions in likes.npz" and facts["parameters"] is None
    liked = splits.test.labels["like"]
    for teacher in (kind.open(tmp_path), kind.train_fold(splits.train, 0, tmp_path, tmp_path)):
        logits = teacher.row_logits(splits.test)["like"][:, 0]
        np.testing.assert_array_equal(logits, np.where(liked > 0.5, 3.0, -3.0))


def test_predictions_without_a_row_are_refused_before_labelling(films, tmp_path):
    folder, rows = films
    with np.load(folder / "likes.npz") as arrays:
        np.savez(folder / "fewer.npz", **{name: arrays[name][:-1] for name in arrays.files})
    kind, _ = rows.kind(kind="array", source=str(folder / "fewer.npz"))
    with pytest.raises(InputError, match="fewer.npz: .* of 1 of 30 "):
        kind.train(tmp_path)


def test_a_function_and_an_ensemble_teach_rows(films, tmp_path):
    folder, rows = films
    source = f"{folder / 'rows.py'}:mean"
    kind, splits = rows.kind(kind="python", source=source)
    assert kind.settings()[0] == "mean"
    mean = float(splits.train.labels["like"].mean())
    answers = kind.open(tmp_path).row_logits(splits.test)
    np.testing.assert_allclose(answers["like"], mean, rtol=1e-6)
    fold = splits.train.subset(splits.train.labels["like"] > 0.5)
    answers = kind.train_fold(fold, 1, tmp_path, tmp_path).row_logits(splits.test)
    np.testing.assert_allclose(answers["like"], 1.0)

    both, _ = rows.kind(kind="ensemble", members=("array", "python"), source=source)
    both.members["array"].path = folder / "likes.npz"
    assert both.train(tmp_path)["line"] == "the predictions in likes.npz + made by mean of rows.py"
    logits = both.open(tmp_path).row_logits(splits.test)["like"][:, 0]
    first = 1 / (1 + np.exp(-np.where(splits.test.labels["like"] > 0.5, 3.0, -3.0)))
    probabilities = (first + 1 / (1 + np.exp(-mean))) / 2  # the mean of both
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probabilities, rtol=1e-5)


def test_a_function_whose_teacher_cannot_label_rows_is_named(films, folder):
    _, rows = films
    kind, _ = rows.kind(kind="python", source=f"{folder}/mine.py:nothing")
    with pytest.raises(InputError, match="of rows `row_logits.*: NoneType without"):
        kind.open(folder)


def test_a_task_without_teacher_logits_is_refused_before_a_student_is_trained(films, tmp_path):
    folder, rows = films
    source = f"{folder / 'rows.py'}:mean"
    recipe = rows.recipe(tasks=("like", "rating"), kind="python", source=source)
    run = Run(recipe, tmp_path, SilentProgress())
    with pytest.raises(InputError, match="has logits of like, but none of rating"):
        run.stages.run(stages_of(run)[:2])
