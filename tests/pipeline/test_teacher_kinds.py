"""Every kind of teacher that a recipe can name, from the command line to the report."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import write_tiny_bert

from tfrs_distill import pipeline
from tfrs_distill.cli import main
from tfrs_distill.data.synthetic import synthetic
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe import Recipe, TeacherSettings

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
    """A tiny BERT, a SavedModel encoder, planted data in files, and what the teachers read."""
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
    "a SavedModel encoder": {"encoder": "hub"},
    "cross-encoder over ids alone": {"teacher": 'kind = "cross-encoder"\nmodalities = []'},
    "item-item": {"teacher": 'kind = "item-item"'},
    "ensemble of array and item-item": {
        "teacher": 'kind = "ensemble"\nmembers = ["array", "item-item"]\n'
        'source = "{folder}/scores.npz"'
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
    told = report["teachers"]["models"]
    members = ["array", "item-item"] if kind.startswith("ensemble") else []
    assert list(told) == ["teacher", *members, "twin"]
    assert all(told[name]["calibration"]["negative_log_likelihood"] > 0 for name in told)
    assert "What the teachers know" in (home / "report.html").read_text()
    knowledge = home / "stages" / "knowledge"
    assert [child.name for child in knowledge.iterdir() if child.is_dir()] == ["cache"]
    if kind == "item-item":  # nothing but counting and a matrix inverse decides it
        ease = report["models"]["ease"]["metrics"]["next_item"]["ndcg@10"]["value"]
        assert ndcg == pytest.approx(ease, abs=1e-9)


@pytest.mark.nightly
def test_what_lora_learnt_is_kept_as_a_small_file(folder, tmp_path):
    path = recipe_file(folder, tmp_path, tuning='method = "lora"\nrank = 2')
    recipe = Recipe.from_toml(path)
    facts = train_only(recipe, tmp_path)
    # Rank 2 on query and value of 2 layers of width 16: 2 * 2 * 2 * (16 + 16) numbers.
    assert facts["encoder"]["tuned_parameters"] == 256
    from tfrs_distill.teachers import TextEncoder, attach_saved

    attach_saved(TextEncoder(folder / "bert"), tmp_path / "teacher" / "tuned_bert.safetensors")


def train_only(recipe, tmp_path):
    """The teacher stage alone."""
    from tfrs_distill.data.splits import split_by_time
    from tfrs_distill.pipeline.teacher_kinds import Setting, teacher_kind
    from tfrs_distill.progress import SilentProgress

    splits = split_by_time(PLANTED, max_history=recipe.data.max_history)
    kind = teacher_kind(Setting(recipe, PLANTED, splits, SilentProgress()))
    kind.settings()
    (tmp_path / "teacher").mkdir()
    return kind.train(tmp_path / "teacher")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"modalities": (), "tuning": "lora"}, r'`teacher.modalities` has no "text"'),
        ({"modalities": ("attributes",)}, "Planted data has neither attributes nor a knowledge"),
        ({"encoder": "hub", "tuning": "lora"}, "an encoder from TF-Hub stays frozen"),
        ({"encoder": "hub", "kind": "cross-encoder"}, "an encoder from TF-Hub cannot read pairs"),
        ({"kind": "array", "source": "no.npz"}, "no.npz does not exist or is no file"),
        ({"kind": "python", "source": "mine.txt:f"}, "must be FILE.py:FUNCTION, of a file that"),
        ({"kind": "python", "source": "{folder}/mine.py:g"}, "mine.py has no function 'g'"),
        (
            {"kind": "python", "source": "{folder}/broken.py:f"},
            "cannot be run: NameError: name 'x'",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(folder, tmp_path, changes, words):
    (folder / "broken.py").write_text("x\n")
    changes = {
        key: value.replace("{folder}", str(folder)) if isinstance(value, str) else value
        for key, value in changes.items()
    }
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path, encoder=changes.pop("encoder", "bert")))
    recipe = replace(
        recipe,
        tuning=replace(recipe.tuning, method=changes.pop("tuning", "none")),
    )
    recipe = replace(recipe, teacher=replace(recipe.teacher, **changes))
    with pytest.raises(InputError, match=words):
        pipeline.run(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "small" / "stages" / "teacher").exists()


def test_a_function_that_gives_no_teacher_is_named(folder, tmp_path):
    source = f"{folder}/mine.py:nothing"
    recipe = Recipe.from_toml(recipe_file(folder, tmp_path))
    recipe = replace(recipe, teacher=TeacherSettings(kind="python", source=source))
    with pytest.raises(InputError, match="NoneType without logits and fingerprint"):
        train_only(recipe, tmp_path)
