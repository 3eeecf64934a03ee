"""A run initialised with the models of a run on other data: what is copied, trained and refused.

Two planted data sets share the words of their items' texts. The source has many users, the target
few interactions of each.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import write_tiny_bert
from tiny_data import tiny_catalogue

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.data.synthetic import THEMES
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate
from tfrs_distill.evaluation.teacher_report import scorer_of
from tfrs_distill.models import RetrievalStudent
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.pipeline.fit_until_best import save_alone
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe, TwoStageRecipe
from tfrs_distill.pipeline.recipe.sections import (
    COLD_ITEMS,
    TransferSettings,
)
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stage import NOTE, Stage
from tfrs_distill.pipeline.stages.data import data_stage
from tfrs_distill.pipeline.stages.student import student_stage
from tfrs_distill.pipeline.stages.teacher import teacher_stage
from tfrs_distill.pipeline.stages.words import words_stage
from tfrs_distill.pipeline.students import students_of
from tfrs_distill.pipeline.teacher_kinds import two_tower
from tfrs_distill.pipeline.transfer import Transfer, same_interactions, shared_items
from tfrs_distill.progress import SilentProgress
from tfrs_distill.serving.word_pieces import WordPieces
from tfrs_distill.teachers import BertTwoTower
from tfrs_distill.teachers.domain_adapter import domain_adapter

DIM, HISTORY = 8, 6
PIECES = WordPieces(("space", "cowboy", "love", "king"), max_pieces=4)


WORDS = sorted({word for theme in THEMES[:4] for word in theme})


def bags_of_words(setting, trained, folder):
    """Replaces a BERT's vectors: the words of a text. Fast, and deterministic."""
    texts = setting.splits.catalogue.texts
    return np.array([[float(word in text) for word in WORDS] for text in texts], np.float32), {}


@pytest.fixture(scope="module", autouse=True)
def small_and_quick():
    """Small models take longer to trace than to train."""
    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_tower, "adapted_text_vectors", bags_of_words)
        yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A BERT, and the source's run: its data and its teacher, nothing else."""
    home = tmp_path_factory.mktemp("transfer")
    write_tiny_bert(home / "bert", hidden_size=16)
    trained(source_of(home), home)
    return home


def recipe_of(home, name, **settings):
    planted = Recipe.named("synthetic")
    return replace(
        planted,
        name=name,
        data=replace(planted.data, max_history=HISTORY),
        teacher=replace(
            planted.teacher, embedding_dim=DIM, batch_size=64, max_epochs=5, learning_rate=0.03
        ),
        encoder=replace(planted.encoder, name=str(home / "bert")),
        student=replace(planted.student, embedding_dim=4),
        evaluation=replace(planted.evaluation, k=3, bootstrap_samples=100),
        **settings,
    )


def source_of(home):
    return recipe_of(home, "source")


def target_of(home, share=0.2, **transfer):
    """Other users; by default the items are other ones too, with only their words in common."""
    recipe = recipe_of(home, "target", seed=1)
    recipe = replace(recipe, data=replace(recipe.data, train_share=share))
    if not transfer:
        return recipe
    chosen = {"run": str(home / "source"), "same_items": "none"} | transfer
    return replace(recipe, transfer=TransferSettings(**chosen))


def run_of(recipe, home):
    return Run(recipe, home, SilentProgress())


def trained(recipe, folder):
    """A run of the stages data and teacher."""
    run = run_of(recipe, folder)
    run.stages.run([data_stage(run), teacher_stage(run)])
    return run


def with_data(recipe, folder):
    """A run of the stage data, and of words if its students read some."""
    run = run_of(recipe, folder)
    run.stages.run([data_stage(run), *([words_stage(run)] if recipe.item_texts.read else [])])
    return run


def model_of(run):
    return tf.keras.models.load_model(run.file("teacher", "teacher-0.keras"))


def weights_of(model):
    """By name, without the model's own name."""
    return {weight.name: weight.numpy() for weight in model.query_tower.weights}


def test_a_transferred_teacher_is_better_than_one_of_few_interactions(home, tmp_path):
    """No item is the same: texts and the reading of histories are transferred."""
    ndcg, lines = {}, {}
    for name, transfer in {
        "alone": {},
        "all": {"trains": "all"},
        "adapters": {"trains": "adapters"},
        "nothing": {"trains": "nothing"},
    }.items():
        run = trained(target_of(home, **transfer), tmp_path / name)
        test = run.data.splits.test.answerable()
        teacher = run.teacher.open(run.file("teacher"))
        ndcg[name] = evaluate(scorer_of(teacher, test, HISTORY), test, k=3).ndcg.mean()
        lines[name] = json.loads(run.file("teacher", NOTE).read_text())["line"]
    assert ndcg["all"] > 1.1 * ndcg["alone"], ndcg
    assert ndcg["adapters"] > 1.1 * ndcg["alone"], ndcg
    assert ndcg["nothing"] > 1.1 * ndcg["alone"], ndcg
    assert "started from" not in lines["alone"]
    assert lines["all"].endswith("started from source with no shared item")
    assert lines["nothing"].endswith("no shared item, not trained")


def test_every_weight_starts_as_in_the_other_teacher(home, tmp_path):
    """Ids by title; texts are the run's own. Nothing is trained, so the result is the start."""
    run = trained(target_of(home, trains="nothing", same_items="titles"), tmp_path)
    source = trained(source_of(home), home)
    ours, theirs = weights_of(model_of(run)), weights_of(model_of(source))
    assert ours.keys() == theirs.keys() and len(ours) > 10
    titles = source.data.catalogue.titles
    rows = [0, *(titles.index(title) + 1 for title in run.data.catalogue.titles)]
    assert sorted(rows) == list(range(61)) and rows != list(range(61))
    for name, values in ours.items():
        if "text_vectors" in name:
            with np.load(run.file("teacher", "item_vectors.npz")) as vectors:
                np.testing.assert_allclose(values[1:], vectors["text"], rtol=1e-6)
            continue
        of_items = "id_embeddings" in name or "biases" in name
        np.testing.assert_array_equal(values, theirs[name][rows] if of_items else theirs[name])
    facts = run.result("teacher")
    assert (
        "curves" not in facts
        and "at epoch 0" in json.loads(run.file("teacher", NOTE).read_text())["line"]
    )
    assert "60 of 60 items matched by title" in run.transfer.sentences()
    fold = tmp_path / "fold"
    fold.mkdir()
    windows = run.data.splits.train.subset(np.arange(20))
    run.teacher.train_fold(windows, 0, run.file("teacher"), fold)
    of_fold = tf.keras.models.load_model(fold / "teacher-0.keras")
    for name, values in weights_of(of_fold).items():
        np.testing.assert_array_equal(values, ours[name])


def test_with_adapters_only_ids_and_a_low_rank_product_are_trained(home, tmp_path):
    recipe = target_of(home, trains="adapters", adapter_rank=2, same_items="titles")
    run = trained(recipe, tmp_path / "adapters")
    start = trained(replace(recipe, transfer=replace(recipe.transfer, trains="nothing")), tmp_path)
    fold = tmp_path / "fold"
    fold.mkdir()
    windows = run.data.splits.train.subset(np.arange(60))
    run.teacher.train_fold(windows, 0, run.file("teacher"), fold)
    of_fold = tf.keras.models.load_model(fold / "teacher-0.keras")
    before = weights_of(model_of(start))
    for model in (model_of(run), of_fold):
        after = weights_of(model)
        changed = {n for n, values in after.items() if not np.array_equal(values, before[n])}
        assert {name.rpartition("/")[2] for name in changed} == {
            "id_embeddings:0",
            "biases:0",
            "kernel:0",
        }
        (kernel,) = (name for name in changed if "kernel" in name)
        assert "projection" in kernel
        values = np.linalg.svd(after[kernel] - before[kernel], compute_uv=False)
        assert values[1] > 1e-3 and values[2] < 1e-5  # rank 2
    assert "an adapter of rank 2 of the text projection" in run.transfer.sentences()


def test_an_adapter_starts_at_zero_and_the_teacher_is_an_ordinary_one():
    vectors = np.random.default_rng(0).normal(size=[9, 6])
    teacher = BertTwoTower(vectors, max_history=3, embedding_dim=8, dropout=0.0, seed=0)
    history = tf.constant([[0, 4, 7]])
    names = [weight.name for weight in teacher.query_tower.weights]
    before = teacher.encode_histories(history).numpy()
    with domain_adapter(teacher, 2, seed=0) as adapter:
        np.testing.assert_array_equal(teacher.encode_histories(history).numpy(), before)
        assert len(teacher.trainable_weights) == 4
        assert len(teacher.query_tower.weights) == len(names) + 2
        adapter.up.assign(np.random.default_rng(1).normal(size=adapter.up.shape))
        inside = teacher.encode_histories(history).numpy()
    np.testing.assert_allclose(teacher.encode_histories(history).numpy(), inside, atol=1e-5)
    assert np.abs(inside - before).max() > 0.01
    assert [weight.name for weight in teacher.query_tower.weights] == names
    assert len(teacher.query_tower.non_trainable_weights) == 2  # text vectors, no history
    with pytest.raises(ValueError, match=r"`rank` must be"), domain_adapter(teacher, 0, seed=0):
        pass


def test_the_stage_depends_on_what_was_transferred_and_how(home, tmp_path):
    """Not on its location."""

    def fingerprint(**changes):
        run = with_data(target_of(home, **({"trains": "nothing"} | changes)), tmp_path)
        return run.teacher.settings()

    assert fingerprint() == fingerprint()
    moved = tmp_path / "moved"
    shutil.copytree(home / "source", moved)
    assert fingerprint(run=str(moved)) == fingerprint()
    others = [fingerprint(trains="all"), fingerprint(same_items="titles"), fingerprint()]
    others += [fingerprint(trains="adapters"), fingerprint(trains="adapters", adapter_rank=3)]
    other = recipe_of(home, "moved", seed=2)
    trained(replace(other, teacher=replace(other.teacher, max_epochs=1)), tmp_path)
    others.append(fingerprint(run=str(moved)))
    assert len({json.dumps(found) for found in others}) == len(others)
    run = with_data(target_of(home), tmp_path)
    assert run.teacher.transfer is None and len(run.teacher.settings()) == 2


def test_a_member_of_an_ensemble_starts_from_one_and_from_a_teacher_alone(home, tmp_path):
    recipe = target_of(home, trains="nothing", same_items="titles")
    both = replace(recipe.teacher, kind="ensemble", members=("item-item", "two-tower"))
    run = trained(replace(recipe, teacher=both), tmp_path)
    member = run.file("teacher", "two-tower")
    third = replace(recipe, name="third", seed=2)
    third = replace(third, transfer=replace(recipe.transfer, run=str(tmp_path / "target")))
    next_run = with_data(third, tmp_path)
    assert Transfer(third, next_run.data).teacher_folder == member
    vectors = {"text": np.zeros([60, len(WORDS)])}
    start = next_run.teacher.untrained(vectors, 0)
    assert Transfer(third, next_run.data).start_teacher(start).num_items == 60
    source = tf.keras.models.load_model(home / "source" / "stages/teacher/teacher-0.keras")
    for model in (start, tf.keras.models.load_model(member / "teacher-0.keras")):
        encoders = zip(model.query_tower.encoder.weights, source.query_tower.encoder.weights)
        assert all(np.array_equal(one, other) for one, other in encoders)


def changed_copy(home, tmp_path, what):
    """A copy of the source's run with an error."""
    copy = tmp_path / "copy"
    shutil.copytree(home / "source", copy)
    stages = copy / "stages"
    if what == "no teacher":
        shutil.rmtree(stages / "teacher")
    elif what == "interrupted":
        (stages / "teacher" / NOTE).unlink()
    elif what == "changed":
        (stages / "data" / "tables.json").write_text("[]")
    elif what == "nothing":
        shutil.rmtree(copy)
    return copy


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no teacher", r"folder of a finished run.*stages/teacher is not there, not finished"),
        ("interrupted", r"stages/teacher is not there, not finished or changed since\. Run its"),
        ("changed", r"stages/data is not there, not finished or changed"),
        ("nothing", r"stages/data is not there"),
    ],
)
def test_a_folder_without_a_finished_run_is_refused(home, tmp_path, what, words):
    copy = changed_copy(home, tmp_path, what)
    run = with_data(target_of(home, run=str(copy)), tmp_path)
    with pytest.raises(InputError, match=words):
        run.teacher.settings()


def other_encoder(home, tmp_path, recipe):
    write_tiny_bert(tmp_path / "bert", hidden_size=16, seed=1)
    return replace(recipe, encoder=replace(recipe.encoder, name=str(tmp_path / "bert")))


def of_teacher(**settings):
    return lambda home, tmp_path, recipe: replace(
        recipe, teacher=replace(recipe.teacher, **settings)
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_encoder, r"read by another encoder.*Received: `encoder\.name`=.*same section \[enc"),
        (of_teacher(embedding_dim=16), r"Received: `teacher\.embedding_dim`=16.*has 8\. Set it t"),
        (
            of_teacher(num_blocks=2),
            r"Received: `teacher\.num_blocks`=2, but that of .*source has 1\.",
        ),
        (
            of_teacher(num_heads=4),
            r"Received: `teacher\.num_heads`=4, but that of .*source has 2\.",
        ),
        (
            lambda home, tmp_path, recipe: replace(
                recipe, data=replace(recipe.data, max_history=9)
            ),
            r"Received: `data\.max_history`=9, but that of .*source has 6\.",
        ),
        (
            lambda home, tmp_path, recipe: replace(recipe, seed=0),  # as the source
            r"a run on other data: 100% of this run's interactions are in the data of .*source",
        ),
    ],
)
def test_incompatible_runs_are_refused_before_training(home, tmp_path, change, words):
    recipe = change(home, tmp_path, target_of(home, trains="all"))
    run = run_of(recipe, tmp_path)
    with pytest.raises(InputError, match=words):
        run.stages.run([data_stage(run), teacher_stage(run)])
    assert not list((tmp_path / "target" / "stages").glob("teacher/*"))


def test_a_part_of_the_data_is_the_same_data(home, tmp_path):
    """As if the other run had read fewer users: here an eighth of them."""
    recipe = source_of(home)
    few = replace(recipe, name="few", data=replace(recipe.data, max_users=25))
    few = replace(few, teacher=replace(few.teacher, max_epochs=1))
    trained(few, tmp_path)
    target = replace(target_of(home, run=str(tmp_path / "few")), seed=0)
    run = with_data(target, tmp_path)
    with pytest.raises(InputError, match=r"other data: 12% of this run's interactions"):
        run.teacher.settings()


def test_a_teacher_of_an_unknown_encoder_is_refused(home, tmp_path):
    """As one of an earlier version, or one that was tuned."""
    copy = tmp_path / "copy"
    shutil.copytree(home / "source", copy)
    choices = copy / "stages" / "teacher" / "choices.json"
    choices.write_text(json.dumps(json.loads(choices.read_text()) | {"encoder": ""}))
    found = Transfer(target_of(home, trains="all"), with_data(source_of(home), home).data)
    found.teacher_folder = choices.parent
    found.data = with_data(target_of(home), tmp_path).data
    with pytest.raises(InputError, match=r"does not record which encoder read its texts.*delete"):
        found.check()


def test_a_run_without_such_a_teacher_is_refused(home, tmp_path):
    other = recipe_of(home, "closed", seed=3)
    trained(replace(other, teacher=replace(other.teacher, kind="item-item")), tmp_path)
    run = with_data(target_of(home, run=str(tmp_path / "closed")), tmp_path)
    with pytest.raises(InputError, match=r'with a teacher "two-tower".*closed, which has none'):
        run.teacher.settings()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": {"kind": "item-item"}}, r'teacher "two-tower".*Received: the kinds "item-i'),
        ({"teacher": {"modalities": ("text", "attributes")}}, r"modalities \['text', 'attrib"),
        ({"teacher": {"modalities": ()}}, r'`teacher\.modalities` are \["text"\]'),
        ({"tuning": {"method": "lora"}}, r'Received: tuning\.method="lora"'),
        ({"tuning": {"pretrain_steps": 5}}, r"tuning\.pretrain_steps=5\. Set them to"),
        ({"transfer": {"run": ""}}, r"Give its folder as `transfer\.run`"),
        ({"transfer": {"trains": "some"}}, r'`transfer\.trains` must be one of "all", "adapters"'),
        ({"transfer": {"adapter_rank": 0}}, r"`transfer\.adapter_rank` must be a whole number"),
    ],
)
def test_recipes_without_anything_to_transfer_are_refused(changes, words):
    recipe = replace(
        RetrievalRecipe(), transfer=TransferSettings(run="saved_models/ml-1m", trains="adapters")
    )
    with pytest.raises(InputError, match=words):
        replace(
            recipe,
            **{name: replace(getattr(recipe, name), **of) for name, of in changes.items()},
        )


def test_two_stages_and_shared_cold_items_are_refused():
    other = TransferSettings(run="saved_models/ml-1m")
    with pytest.raises(InputError, match=r"`transfer` is available for one-stage runs only"):
        TwoStageRecipe(transfer=other)
    cold = Recipe.named("cold-items")
    assert cold.data.split == COLD_ITEMS
    with pytest.raises(InputError, match=r"no model may be trained on the cold items"):
        replace(cold, transfer=other)
    assert replace(cold, transfer=replace(other, same_items="none")).transfer.run


def test_shared_items_are_found_by_title_or_id():
    one = Catalogue(("1", "2", "3"), ("Heat", "Straße", "Babe"), ("a", "b", "c"))
    other = Catalogue(("3", "7", "8", "1"), ("BABE", "heat", "Heat", "STRASSE"), tuple("abcd"))
    assert shared_items(one, other, "titles") == [2, 4, 1]  # of two called Heat the first
    assert shared_items(one, other, "ids") == [4, 0, 1]
    assert shared_items(one, other, "none") == [0, 0, 0]


def test_the_same_interactions_have_the_same_user_item_and_time():
    def data(users, items, times, user_ids=("a", "b")):
        catalogue = tiny_catalogue(4)
        return Interactions("tiny", catalogue, user_ids, users, items, np.ones(len(users)), times)

    ours = data([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4])
    assert same_interactions(ours, ours) == 1.0
    assert same_interactions(ours, data([0, 1], [1, 3], [1, 3])) == 0.5
    assert same_interactions(ours, data([0, 1], [1, 3], [9, 9])) == 0.0  # other times
    assert same_interactions(ours, data([1, 0], [1, 3], [1, 3])) == 0.0  # other users
    swapped = data([1, 1, 0, 0], [1, 2, 3, 4], [1, 2, 3, 4], user_ids=("b", "a"))
    assert same_interactions(ours, swapped) == 1.0
    assert same_interactions(ours, data([0, 1], [1, 3], [1, 3], ("x", "y"))) == 0.0


# Students


def with_texts(recipe):
    texts = replace(recipe.item_texts, read=True, num_common=20, piece_dim=3)
    return replace(recipe, item_texts=texts)


def given_student(home, folder, *, read=True, dim=4):
    """The source's run with a student of random weights."""
    shutil.copytree(home / "source", folder / "source")
    run = trained(source_of(home), folder)
    reads = {"texts": run.data.catalogue.texts, "word_pieces": PIECES} if read else {}
    if read:
        vectors = np.random.default_rng(0).normal(size=[PIECES.num_pieces + 1, 3])
        reads["piece_vectors"] = vectors
    student = RetrievalStudent.from_history(
        num_items=60, max_history=HISTORY, embedding_dim=dim, seed=5, **reads
    )
    random = np.random.default_rng(3)
    for weight in student.query_tower.weights:
        if weight.dtype != tf.int32 and "embeddings" not in weight.name:
            weight.assign(random.normal(size=weight.shape))
    student.candidate_tower.id_embeddings.assign(random.normal(size=[61, dim]))

    def work(at):
        save_alone(student, at / "student.keras")
        return {}, "made"

    run.stages.run([Stage("student", work, lambda: dim, after=("data",))])
    return run, student


def test_the_student_starts_from_the_other_runs_and_the_twin_does_not(home, tmp_path):
    source, theirs = given_student(home, tmp_path)
    recipe = with_texts(target_of(home, run=str(source.home), same_items="titles"))
    run = with_data(recipe, tmp_path)
    student = students_of(run, "student").new(recipe.distillation, 0)
    assert student.candidate_tower.word_pieces == PIECES
    titles = source.data.catalogue.titles
    rows = [0, *(titles.index(title) + 1 for title in run.data.catalogue.titles)]
    ours, before = weights_of(student), weights_of(theirs)
    assert ours.keys() == before.keys()
    for name, values in ours.items():
        if name.endswith("pieces:0"):  # of this run's texts
            texts = PIECES.encode(run.data.catalogue.texts)
            np.testing.assert_array_equal(values[1:], texts)
            continue
        of_items = "id_embeddings" in name or "biases" in name
        np.testing.assert_array_equal(values, before[name][rows] if of_items else before[name])
    for name in ("twin", "plain"):
        twin = students_of(run, name).new(recipe.twin, 0)
        assert twin.candidate_tower.word_pieces != PIECES
        assert not np.array_equal(
            twin.candidate_tower.text_tower.log_weights,
            theirs.candidate_tower.text_tower.log_weights,
        )
    for name in ("scrambled", "self_taught"):  # they are trained like the student
        assert students_of(run, name).new(recipe.distillation, 0).candidate_tower.word_pieces == (
            PIECES
        )
    sentences = run.transfer.sentences()
    assert "The student, and controls trained like it, started from that run's" in sentences
    assert "The twin started from new weights: it is the control without transfer." in sentences
    assert run.transfer.facts() == {
        "run": "source",
        "data": "synthetic",
        "models": ["teacher", "student"],
        "shared_items": 60,
        "items": 60,
        "same_items": "titles",
        "trains": "all",
    }
    run.teacher.settings()  # both have one shape


def test_the_students_stage_depends_on_it_and_the_twins_does_not(home, tmp_path):
    source, _ = given_student(home, tmp_path)
    alone = with_texts(target_of(home))
    recipe = with_texts(target_of(home, run=str(source.home)))
    settings = {}
    for name in ("student", "twin"):
        for transferred, of in ((True, recipe), (False, alone)):
            run = with_data(of, tmp_path)
            settings[name, transferred] = json.dumps(student_stage(run, name).settings())
    assert settings["student", True] != settings["student", False]
    assert settings["twin", True] == settings["twin", False]


@pytest.mark.parametrize("which", ["theirs", "ours", "none"])
def test_if_one_of_both_reads_no_text_only_the_teacher_transfers(home, tmp_path, which):
    if which == "none":
        shutil.copytree(home / "source", tmp_path / "source")  # without a stage of a student
    else:
        given_student(home, tmp_path, read=which != "theirs")
    recipe = target_of(home, run=str(tmp_path / "source"))
    run = with_data(recipe if which == "ours" else with_texts(recipe), tmp_path)
    assert not run.transfer.starts_student
    assert run.transfer.facts()["models"] == ["teacher"]
    assert "The student" not in run.transfer.sentences()
    student = students_of(run, "student").new(recipe.distillation, 0)
    assert isinstance(student, TwoTower)
    assert hasattr(student.candidate_tower, "word_pieces") == (which != "ours")


def test_a_student_of_another_shape_is_refused_before_the_teacher_is_trained(home, tmp_path):
    source, _ = given_student(home, tmp_path, dim=5)
    recipe = with_texts(target_of(home, run=str(source.home)))
    words = r"student must have the shape.*`student\.embedding_dim`=4.*has 5"
    with pytest.raises(InputError, match=words):
        with_data(recipe, tmp_path).teacher.settings()
    student = replace(recipe.student, embedding_dim=5, num_heads=5)
    with pytest.raises(InputError, match=r"`student\.num_heads`=5.*has 0\. Set it to 0"):
        with_data(replace(recipe, student=student), tmp_path).teacher.settings()
