"""The text ranker against a BERT in float64 NumPy; its training on labels planted in the texts."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import WORDS, bert_in_numpy, wordpieces, write_tiny_bert

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import (
    Binary,
    NextItem,
    Ordinal,
    RatingDistribution,
    Regression,
)
from tfrs_distill.teachers.bert.bert_text_ranker import (
    BertTextRanker,
    LengthBatches,
    TextRankerTraining,
    labels_and_weights,
)
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

TEXTS = (
    "galaxy space rocket",
    "",
    "a bride's wedding",
    "king",
    "love and the heart of 12 dragons, and a sword in the castle of the king",
    "horse",
)
NAN = float("nan")
TASKS = (Regression("rating", 1, 5), Binary("like"), Ordinal("stars", (1, 2, 3)))


def examples_of(texts, weights=None, **labels):
    rows = np.arange(len(texts), dtype=np.int32)
    labels = {task: np.array(values, np.float32) for task, values in labels.items()}
    return RankingExamples(
        {}, labels, users=rows, queries=rows, texts={"text": tuple(texts)}, weights=weights
    )


def ranker_of(tiny_bert, tasks=TASKS, **options):
    options = {"max_length": 24, "seed": 0, "batch_size": 4} | options
    return BertTextRanker(TextEncoder(tiny_bert[0]), tasks, **options)


@pytest.fixture(scope="module")
def ranker(tiny_bert):
    """Untrained; tests that train create another one, because training changes the encoder."""
    return ranker_of(tiny_bert)


def logits_in_numpy(tiny_bert, ranker, text, max_length=24):
    """By task, from the encoder's weights and the heads' equations; truncated texts keep [SEP]."""
    folder, weights = tiny_bert
    ids = wordpieces(folder, text)
    ids = ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]]
    pooled = bert_in_numpy(weights, ids).mean(axis=0)
    heads = ranker.head.of_task
    output = {
        name: pooled @ heads[name].kernel.numpy().astype(float) + heads[name].bias.numpy()
        for name in ("rating", "like")
    }
    stars = heads["stars"]
    gap = np.log1p(np.exp(stars.gaps.numpy()[0].astype(float)))
    thresholds = stars.first.numpy()[0] + np.array([0.0, gap])
    return output | {"stars": pooled @ stars.score.kernel.numpy().astype(float) - thresholds}


def test_outputs_are_those_of_a_bert_in_numpy(tiny_bert, ranker):
    assert len(wordpieces(tiny_bert[0], TEXTS[4])) > 24  # so that one text is truncated
    expected = [logits_in_numpy(tiny_bert, ranker, text) for text in TEXTS]
    done = []
    output = ranker.row_logits(examples_of(TEXTS), advance=done.append)
    assert done == [4, 2]
    assert list(output) == ["rating", "like", "stars"]
    for task, width in (("rating", 1), ("like", 1), ("stars", 2)):
        wanted = np.array([answer[task] for answer in expected])
        assert output[task].shape == (6, width) and output[task].dtype == np.float32
        # logits differ by more than the tolerance, float32 through two layers
        assert np.std(wanted[:, 0]) > 0.05
        np.testing.assert_allclose(output[task], wanted, atol=2e-5)


def test_other_texts_of_a_batch_have_no_influence(ranker):
    together = ranker.row_logits(examples_of(TEXTS))
    for row in (1, 4):
        alone = ranker.row_logits(examples_of([TEXTS[row]]))
        for task, logits in alone.items():
            np.testing.assert_allclose(logits[0], together[task][row], atol=1e-6)


def test_predictions_are_in_label_units(ranker):
    examples = examples_of(TEXTS)
    logits = {name: array.astype(float) for name, array in ranker.row_logits(examples).items()}
    output = ranker.predictions(examples)
    expected = {
        "rating": np.clip(logits["rating"][:, 0], 1, 5),
        "like": 1 / (1 + np.exp(-logits["like"][:, 0])),
        "stars": 1 + (1 / (1 + np.exp(-logits["stars"]))).sum(axis=1),
    }
    for task, wanted in expected.items():
        np.testing.assert_allclose(output[task], wanted, rtol=1e-5)


SETTINGS = {
    "num_epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "head_learning_rate": 1e-2,
    "warmup_share": 0.0, "clip_norm": None, "num_layers": None, "seed": 0,
}  # fmt: skip


def test_the_loss_is_the_sum_of_the_tasks_means_over_their_labelled_rows(ranker):
    weights = np.array([1.0, 2.0, 1.0, 0.0, 3.0, 1.0])
    labels = {
        "rating": [5, NAN, 2, 1, NAN, 4],
        "like": [NAN, 1, 0, 1, 1, NAN],
        "stars": [1, 2, 3, 1, NAN, NAN],
    }
    examples = examples_of(TEXTS, weights, **labels)
    logits = {name: array.astype(float) for name, array in ranker.row_logits(examples).items()}

    def bernoulli(y, x):
        return np.log1p(np.exp(x)) - y * x

    value, like, stars = (np.array(labels[name]) for name in ("rating", "like", "stars"))
    above = stars[:, None] > np.array([1.0, 2.0])
    by_row = {
        "rating": (value - logits["rating"][:, 0]) ** 2,
        "like": bernoulli(like, logits["like"][:, 0]),
        "stars": bernoulli(above, logits["stars"]).mean(axis=1),
    }
    expected = 0.0
    for task, losses in by_row.items():
        there = ~np.isnan(labels[task])
        expected += (weights * losses)[there].sum() / weights[there].sum()

    given, counted = labels_and_weights(ranker.tasks, examples)
    training = TextRankerTraining(ranker, examples, given, counted, SETTINGS)
    tokens = ranker.padded(training.tokens, np.arange(6))
    found = training.loss(*tokens, tf.constant(given), tf.constant(counted), training=False)
    np.testing.assert_allclose(float(found), expected, rtol=1e-5)


def test_a_batch_without_labels_of_a_task_trains_the_others(ranker):
    labels = {"rating": [NAN, NAN, 3], "like": [1, 0, NAN], "stars": [NAN, NAN, 2]}
    examples = examples_of(TEXTS[:3], **labels)
    given, counted = labels_and_weights(ranker.tasks, examples)
    training = TextRankerTraining(ranker, examples, given, counted, SETTINGS)
    rows = np.arange(2)
    found = training.loss(
        *ranker.padded(training.tokens, rows),
        tf.constant(given[rows]),
        tf.constant(counted[rows]),
        training=False,
    )
    logit = ranker.row_logits(examples)["like"][:2, 0].astype(float)
    expected = np.mean(np.log1p(np.exp(logit)) - np.array([1, 0]) * logit)
    np.testing.assert_allclose(float(found), expected, rtol=1e-5)


def planted(num_rows=160):
    """Texts with "galaxy" are liked; the rating is 5 with "king" and 1 without.

    Half of the rows have a label for one task alone.
    """
    random = np.random.default_rng(3)
    others = [word for word in WORDS if word not in ("galaxy", "king")]
    texts, like, rating = [], [], []
    for row in range(num_rows):
        liked, high = map(bool, random.random(2) < 0.5)
        words = list(random.choice(others, random.integers(1, 6)))
        words += ["galaxy"] * liked + ["king"] * high
        texts.append(" ".join(random.permutation(words)))
        like.append(NAN if row % 4 == 0 else float(liked))
        rating.append(NAN if row % 4 == 1 else 5.0 if high else 1.0)
    return examples_of(texts, like=like, rating=rating)


TWO = (Binary("like"), Regression("rating", 1, 5))
FIT = {"learning_rate": 3e-3, "head_learning_rate": 1e-2, "batch_size": 16, "seed": 3}


def test_training_learns_both_tasks_from_the_words_and_leaves_the_embeddings(tiny_bert):
    ranker = ranker_of(tiny_bert, TWO)
    before = {v.name: v.numpy() for v in ranker.encoder.model.variables}
    done = []
    losses = ranker.fit(planted(), num_epochs=12, **FIT, advance=done.append)
    assert len(losses) == 120 and done == [1] * 120
    # Without any knowledge the loss is ln 2 for likes and 4 for ratings of 1 and 5.
    assert np.mean(losses[:3]) > 3 and np.mean(losses[-10:]) < 1.5
    test_rows = examples_of(["horse space", "galaxy horse", "horse king", "king galaxy kiss"])
    output = ranker.predictions(test_rows)
    assert (output["like"] > 0.5).tolist() == [False, True, False, True]
    assert (output["rating"] > 3).tolist() == [False, False, True, True]
    assert moved_layers(ranker, before) == {0, 1}  # and so not the embeddings, nor the pooler


def moved_layers(ranker, before):
    model = ranker.encoder.model
    moved = {v.name for v in model.variables if (v.numpy() != before[v.name]).any()}
    return {int(name.split("layer_._")[1].split("/")[0]) for name in moved}


def test_dropout_is_on_only_if_requested(tiny_bert):
    for dropout in (0.0, 0.5):
        ranker = ranker_of(tiny_bert, TWO, dropout=dropout)
        tokens = ranker.padded(ranker.tokens(examples_of(TEXTS)), np.arange(6))
        inference, trained = (ranker.read(*tokens, training)["like"] for training in (False, True))
        assert np.allclose(inference, trained) == (dropout == 0)


@pytest.mark.nightly
def test_only_the_top_layers_and_the_heads_are_trained(tiny_bert, monkeypatch):
    ranker, read, training = ranker_of(tiny_bert, TWO), BertTextRanker.read, []

    def noted(self, *arguments):
        training.append(arguments[-1])
        return read(self, *arguments)

    monkeypatch.setattr(BertTextRanker, "read", noted)
    before = {v.name: v.numpy() for v in ranker.encoder.model.variables}
    heads = [v.numpy() for v in ranker.head.trainable_variables]
    ranker.fit(planted(20), **FIT, num_layers=1)
    assert moved_layers(ranker, before) == {1}
    assert set(training) == {True}  # dropout is on
    for variable, value in zip(ranker.head.trainable_variables, heads):
        assert (variable.numpy() != value).any()


@pytest.mark.nightly
def test_gradients_are_clipped_to_the_given_norm(tiny_bert):
    def change(clip_norm):  # by one step
        ranker = ranker_of(tiny_bert, TWO)
        before = [v.numpy() for v in ranker.weights.values()]
        ranker.fit(planted(16), **FIT, warmup_share=0.0, clip_norm=clip_norm, num_layers=1)
        return [v.numpy() - b for v, b in zip(ranker.weights.values(), before)]

    free, wide, tight = change(None), change(1e9), change(1e-12)
    for one, other in zip(free, wide):
        np.testing.assert_allclose(one, other, atol=1e-7)
    # Adam's first step is lr * g / (|g| + 1e-7): all of lr, or almost 0 if g is 1e-12.
    largest = [max(float(np.abs(array).max()) for array in arrays) for arrays in (free, tight)]
    assert largest[0] > 9e-3 and largest[1] < 1e-6


def interruptible(stop_at, done):
    def advance(_):
        done.append(1)
        if len(done) == stop_at:
            raise KeyboardInterrupt

    return advance


@pytest.mark.nightly
def test_an_interrupted_training_ends_as_without_interruption(tiny_bert, tmp_path):
    def train(folder, stop_at=None, **options):
        ranker = ranker_of(tiny_bert, TWO, dropout=0.5)
        options = {
            "num_epochs": 2, "num_layers": 1, "checkpoint_folder": folder, "checkpoint_every": 2,
        } | options  # fmt: skip
        done = []
        losses = ranker.fit(planted(60), **FIT | options, advance=interruptible(stop_at, done))
        return losses, [v.numpy() for v in ranker.weights.values()], done

    whole = train(tmp_path / "whole")
    assert len(whole[0]) == 8
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", stop_at=5)
    resumed = train(tmp_path / "cut")
    assert resumed[2] == [1] * 5  # four steps at once, then the four that were left
    np.testing.assert_allclose(resumed[0], whole[0], rtol=1e-5)  # threads sum in any order
    for found, expected in zip(resumed[1], whole[1]):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    read_again = train(tmp_path / "cut")  # nothing is left to do
    assert read_again[0] == resumed[0] and read_again[2] == [1]
    with pytest.raises(InputError, match="another training: .*batch_size was 16 and is 8"):
        train(tmp_path / "cut", batch_size=8)
    with pytest.raises(InputError, match="another training: .*examples was "):
        ranker_of(tiny_bert, TWO, dropout=0.5).fit(
            planted(61), **FIT, num_epochs=2, num_layers=1, checkpoint_folder=tmp_path / "cut"
        )
    with pytest.raises(InputError, match="another training: .*ranker was "):
        ranker_of(tiny_bert, TWO, dropout=0.4).fit(
            planted(60), **FIT, num_epochs=2, num_layers=1, checkpoint_folder=tmp_path / "cut"
        )


def test_the_batches_of_an_epoch_are_all_rows_once_grouped_by_length():
    lengths = np.random.default_rng(0).integers(3, 97, 1003)
    batches = LengthBatches(lengths, 8, seed=1)
    assert batches.steps_per_epoch == 126
    epochs = [[batches[step] for step in range(126 * e, 126 * (e + 1))] for e in (0, 1)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(1003))
        assert sorted(map(len, epoch)) == [3] + [8] * 125
        # 400 rows of 94 lengths sorted: 8 neighbours span about 2; drawn at random they span about
        # 73.
        assert np.mean([np.ptp(lengths[rows]) for rows in epoch]) < 6
        longest = [lengths[rows].max() for rows in epoch[:50]]
        assert abs(np.corrcoef(longest, np.arange(50))[0, 1]) < 0.5  # short and long ones mixed
    assert {tuple(sorted(rows)) for rows in epochs[0]} != {tuple(sorted(r)) for r in epochs[1]}
    again = LengthBatches(lengths, 8, seed=1)
    np.testing.assert_array_equal(again[130], epochs[1][4])
    np.testing.assert_array_equal(again[5], epochs[0][5])
    assert any((LengthBatches(lengths, 8, seed=2)[s] != epochs[0][s]).any() for s in range(3))


def test_texts_are_padded_to_8_but_not_beyond_the_longest_allowed(tiny_bert):
    ranker = ranker_of(tiny_bert, max_length=21)
    texts = (*TEXTS, "a b c d e f g")
    tokens = ranker.tokens(examples_of(texts))
    for rows, width in (([0, 3], 8), ([3, 6], 16), ([4], 21)):
        ids, mask = ranker.padded(tokens, np.array(rows))
        assert ids.shape == mask.shape == (len(rows), width)
        for row, text_ids, seen in zip(rows, ids.numpy(), mask.numpy()):
            own = wordpieces(tiny_bert[0], texts[row])
            own = own if len(own) <= 21 else [*own[:20], own[-1]]
            assert text_ids.tolist() == own + [0] * (width - len(own))
            assert seen.tolist() == [1] * len(own) + [0] * (width - len(own))


def test_a_loaded_one_returns_the_same(tiny_bert, tmp_path):
    tasks = [*TASKS, RatingDistribution("grade", (1, 2)), Binary("new", initial_prediction=0.1)]
    ranker = BertTextRanker(
        TextEncoder(tiny_bert[0]), tasks, text_column="review", max_length=20, dropout=0.3
    )
    for variable in ranker.weights.values():  # as training would
        variable.assign_add(0.01 * tf.random.stateless_normal(variable.shape, [0, 1]))
    ranker.save(tmp_path / "saved")
    files = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert files == ["text_ranker.json", "text_ranker.safetensors"]
    loaded = BertTextRanker.load(tmp_path / "saved", TextEncoder(tiny_bert[0]), batch_size=2)
    assert loaded.fingerprint() == ranker.fingerprint()
    assert list(loaded.tasks.values()) == tasks
    assert (loaded.text_column, loaded.max_length, loaded.batch_size) == ("review", 20, 2)
    assert loaded.head.dropout.rate == 0.3
    rows = np.arange(6)
    test_rows = RankingExamples({}, {}, users=rows, queries=rows, texts={"review": TEXTS})
    expected = ranker.row_logits(test_rows)
    assert list(expected) == ["rating", "like", "stars", "grade", "new"]
    for task, logits in loaded.row_logits(test_rows).items():
        np.testing.assert_allclose(logits, expected[task], atol=1e-6)


def test_a_saved_one_refuses_another_checkpoint(tiny_bert, ranker, tmp_path):
    ranker.save(tmp_path / "saved")
    write_tiny_bert(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="trained from another checkpoint than .*other"):
        BertTextRanker.load(tmp_path / "saved", TextEncoder(tmp_path / "other"))
    adapted = TextEncoder(tiny_bert[0])
    embeddings = adapted.model.get_input_embeddings().weights[0]
    embeddings.assign_add(tf.ones_like(embeddings))
    for encoder in (adapted, TextEncoder(tiny_bert[0], pooling="cls")):
        with pytest.raises(InputError, match="trained from another checkpoint"):
            BertTextRanker.load(tmp_path / "saved", encoder)


def test_a_damaged_folder(tiny_bert, ranker, tmp_path):
    encoder = TextEncoder(tiny_bert[0])
    ranker.save(tmp_path / "saved")
    facts = json.loads((tmp_path / "saved" / "text_ranker.json").read_text())

    def copy(name):
        return shutil.copytree(tmp_path / "saved", tmp_path / name)

    (copy("no_weights") / "text_ranker.safetensors").unlink()
    (copy("cut") / "text_ranker.json").write_text('{"format": 1')
    file = copy("short") / "text_ranker.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    (copy("newer") / "text_ranker.json").write_text(json.dumps(facts | {"format": 3}))
    (copy("mixed") / "text_ranker.json").write_text(json.dumps(facts | {"sha256": "a"}))
    for name, words in (
        ("absent", "holds no complete text ranker"),
        ("no_weights", "holds no complete text ranker"),
        ("cut", "holds no complete text ranker"),
        ("short", "holds no complete text ranker"),
        ("newer", "has format 3, this version reads format 2"),
        ("mixed", "was changed after saving: its sha256 differs"),
    ):
        with pytest.raises(InputError, match=words):
            BertTextRanker.load(tmp_path / name, encoder)


def test_the_fingerprint_depends_on_weights_and_configuration(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])

    def made(tasks=TASKS, **options):
        return BertTextRanker(encoder, tasks, **{"max_length": 32, "seed": 0} | options)

    variants = [
        made(),
        made(tasks=TASKS[:2]),
        made(tasks=(Regression("rating", 0, 5), *TASKS[1:])),
        made(max_length=40),
        made(text_column="title"),
        made(seed=1),
    ]
    prints = [model.fingerprint() for model in variants]
    assert len(set(prints)) == 6 and made().fingerprint() == prints[0]
    variable = variants[0].stack.layer_variables()[0][0]
    variable.assign_add(tf.ones_like(variable))
    assert variants[0].fingerprint() != prints[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_length": 129}, "positions for 128 tokens. Received: max_length=129"),
        ({"max_length": 2}, "`max_length` must be greater than 2, the special tokens"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1"),
        ({"tasks": ()}, r"at least one task, each with another name. Received: \[\]"),
        ({"tasks": (Binary("a"), Binary("a"))}, r"another name. Received: \['a', 'a'\]"),
        ({"tasks": (NextItem("next", 9),)}, "has no logits of 'next', a `NextItem` task"),
    ],
)
def test_invalid_arguments_are_refused(tiny_bert, options, words):
    with pytest.raises(ValueError, match=words):
        ranker_of(tiny_bert, **options)


def test_examples_without_the_texts_or_the_labels(ranker):
    rows = np.arange(2)
    other = RankingExamples({}, {}, users=rows, queries=rows, texts={"title": ("a", "b")})
    with pytest.raises(InputError, match="no texts called 'text'. They have: title"):
        ranker.row_logits(other)
    with pytest.raises(InputError, match="no labels for the task 'stars'"):
        ranker.fit(examples_of(TEXTS[:2], rating=[1, 2], like=[0, 1]))
    with pytest.raises(InputError, match="'stars' has no label in any of 2 rows"):
        ranker.fit(examples_of(TEXTS[:2], rating=[1, 2], like=[0, 1], stars=[NAN, NAN]))
    with pytest.raises(InputError, match="'rating' must be within 1 and 5.*Received: 9 in row 1"):
        ranker.fit(examples_of(TEXTS[:2], rating=[1, 9], like=[0, 1], stars=[1, 2]))
    with pytest.raises(InputError, match="Task 'like' has no positives"):
        ranker.fit(examples_of(TEXTS[:2], rating=[1, 2], like=[0, NAN], stars=[1, 2]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_epochs": 0}, "`num_epochs` must be a whole number of at least 1"),
        ({"batch_size": 1.5}, "`batch_size` must be a whole number"),
        ({"checkpoint_every": 0}, "`checkpoint_every` must be a whole number"),
        ({"clip_norm": 0.0}, "`clip_norm` must be None or greater than 0. Received: clip_norm=0.0"),
        ({"clip_norm": NAN}, "`clip_norm` must be None or greater than 0"),
        ({"num_layers": 3}, "`num_layers` must be None or within 1 to 2"),
        ({"num_layers": 0}, "`num_layers` must be None or within 1 to 2"),
        ({"learning_rate": 0.0}, "learning rate must be greater than 0"),
        ({"warmup_share": 1.0}, "`warmup_share` must be at least 0 and below 1"),
    ],
)
def test_invalid_training_arguments_are_refused(ranker, options, words):
    labels = {"rating": [1, 2], "like": [0, 1], "stars": [1, 2]}
    with pytest.raises(ValueError, match=words):
        ranker.fit(examples_of(TEXTS[:2], **labels), **options)


@pytest.mark.nightly
@pytest.mark.realdata
def test_minilm_takes_steps_on_real_reviews(minilm_folder, fetch_or_skip, tmp_path):
    """A few steps, no epoch: both tasks' losses exist and decrease, and the file is small."""
    from tfrs_distill.data.clothing_reviews import clothing_reviews

    examples = fetch_or_skip(clothing_reviews).examples
    some = examples.subset(np.random.default_rng(0).permutation(len(examples))[:96])
    share = float(np.mean(some.labels["recommended"]))
    tasks = [
        Binary("recommended", initial_prediction=share),
        Regression("rating", 1, 5, initial_prediction=float(np.mean(some.labels["rating"]))),
    ]
    ranker = BertTextRanker(TextEncoder(minilm_folder), tasks, max_length=48, seed=0)
    losses = ranker.fit(some, num_epochs=3, batch_size=16, num_layers=2)
    assert len(losses) == 18
    # The loss of the mean alone: the entropy of the share and the variance of the ratings.
    of_means = -share * np.log(share) - (1 - share) * np.log(1 - share)
    of_means += np.var(some.labels["rating"])
    assert 0.5 * of_means < np.mean(losses[:4]) < 2 * of_means
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])
    ranker.save(tmp_path / "saved")
    size = (tmp_path / "saved" / "text_ranker.safetensors").stat().st_size
    assert 40e6 < size < 45e6  # six layers of 1.77 million float32 numbers, no embeddings
