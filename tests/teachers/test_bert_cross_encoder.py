"""The cross-encoder against a BERT in float64 NumPy, its pairs against the tokenizer's."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import bert_in_numpy, wordpieces, write_tiny_bert
from tiny_data import next_item_rows, random_windows, windows_from, with_dislikes, with_weights

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.bert_cross_encoder import (
    BertCrossEncoder,
    CrossEncoderTraining,
    RowBatches,
    draw_lists,
)
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.text_pairs import TextPairs
from tfrs_distill.teachers.function_teacher import FunctionTeacher

TEXTS = (
    "galaxy space rocket",
    "saloon",
    "cowboy desert 7",
    "a bride's wedding",
    "king",
    "love and the heart of 12 dragons",
    "horse",
    "kiss 3 4",
    "planet alien",
)


@pytest.fixture(scope="module")
def cross_encoder(tiny_bert):
    """Untrained; tests that train create another one, because training changes the encoder."""
    return BertCrossEncoder(
        TextEncoder(tiny_bert[0]), TEXTS, max_history_items=3, max_length=32, batch_size=4, seed=0
    )


def pair_in_numpy(folder, history, candidate, max_length=32):
    """Token ids and types of one pair, by hand: newest first, ";" is unknown to the tiny BERT."""
    room, unknown = max_length - 3, 1
    texts = {item: wordpieces(folder, TEXTS[item - 1])[1:-1][: room // 2] for item in range(1, 10)}
    read = [token for item in reversed(history) for token in [*texts[item], unknown]]
    read = read[: room - len(texts[candidate])]
    first = [2, *read, 3]
    return first + [*texts[candidate], 3], [0] * len(first) + [1] * (len(texts[candidate]) + 1)


def score_in_numpy(tiny_bert, cross_encoder, history, candidate):
    folder, weights = tiny_bert
    ids, types = pair_in_numpy(folder, history, candidate)
    # The reference has type 0 alone: add the difference between the types to the positions.
    types, name = np.array(types), "embeddings.token_type_embeddings.weight"
    moved = dict(weights)
    positions = weights["embeddings.position_embeddings.weight"].copy()
    positions[: len(ids)] += (weights[name][1] - weights[name][0]) * types[:, None]
    moved["embeddings.position_embeddings.weight"] = positions
    kernel, bias = (np.float64(value) for value in cross_encoder.head.get_weights())
    return float((bert_in_numpy(moved, ids).mean(axis=0) @ kernel + bias)[0])


HISTORIES = [[6, 1, 3, 9, 2], [5], [1, 4, 6], [2, 7]]
LISTS = [[4, 8, 7], [6, 1, 2], [3, 9, 6], [1, 1, 5]]


def test_scores_are_those_of_a_bert_on_pairs_in_numpy(tiny_bert, cross_encoder):
    padded = [[0] * (5 - len(history)) + history for history in HISTORIES]
    expected = [
        [score_in_numpy(tiny_bert, cross_encoder, history[-3:], item) for item in items]
        for history, items in zip(HISTORIES, LISTS)
    ]
    # so that scores differ by more than the tolerance, float32 through two layers
    assert np.std(expected) > 0.05
    np.testing.assert_allclose(cross_encoder.scores(padded, LISTS), expected, atol=2e-5)
    in_graph = tf.function(cross_encoder.scores)(tf.constant(padded), tf.constant(LISTS))
    np.testing.assert_allclose(in_graph, expected, atol=2e-5)
    pairs = cross_encoder.scores(np.repeat(padded, 3, axis=0), np.reshape(LISTS, (-1, 1)))[:, 0]
    np.testing.assert_allclose(pairs, np.reshape(expected, -1), atol=2e-5)


def test_padding_anywhere_and_other_rows_have_no_influence(cross_encoder):
    alone = cross_encoder.scores([[3, 9, 2]], [[4]])[0, 0]
    together = cross_encoder.scores(
        [[3, 0, 9, 2, 0], [6, 6, 6, 6, 6], [0, 0, 0, 0, 5]], [[4, 6], [6, 6], [2, 5]]
    )
    np.testing.assert_allclose(together[0, 0], alone, atol=1e-6)
    assert cross_encoder.scores(np.zeros([0, 3]), np.zeros([0, 2])).shape == (0, 2)


@pytest.mark.parametrize("max_length", [16, 32, 64])
def test_pairs_are_truncated_at_the_oldest_and_padded_to_8(tiny_bert, max_length):
    pairs = TextPairs(TextEncoder(tiny_bert[0]).tokenizer, TEXTS, max_length)
    history, candidate = [6, 1, 3], [6, 5]
    newest_first = tf.constant([history[::-1]] * 2)
    tokens = pairs.tokens(newest_first, tf.constant(candidate))
    lengths = pairs.lengths(newest_first, tf.constant(candidate))
    for row, item in enumerate(candidate):
        ids, types = pair_in_numpy(tiny_bert[0], history, item, max_length)
        assert len(ids) == lengths[row] <= max_length
        padding = [0] * (tokens["input_ids"].shape[1] - len(ids))
        assert tokens["input_ids"][row].numpy().tolist() == ids + padding
        assert tokens["attention_mask"][row].numpy().tolist() == [1] * len(ids) + padding
        assert tokens["token_type_ids"][row].numpy().tolist() == types + padding
    assert tokens["input_ids"].shape[1] == min(-(-max(lengths) // 8) * 8, max_length)


def test_a_short_pair_equals_the_tokenizers_output(tiny_bert):
    tokenizer = TextEncoder(tiny_bert[0]).tokenizer
    pairs = TextPairs(tokenizer, TEXTS, 64)
    output = pairs.tokens(tf.constant([[4, 2]]), tf.constant([6]))
    wanted = tokenizer(f"{TEXTS[3]} ; {TEXTS[1]} ;", TEXTS[5])
    length = len(wanted["input_ids"])
    assert output["input_ids"][0, :length].numpy().tolist() == wanted["input_ids"]
    assert output["token_type_ids"][0, :length].numpy().tolist() == wanted["token_type_ids"]
    assert output["attention_mask"].numpy().sum() == length


def test_special_tokens_of_another_family():
    """RoBERTa has two separators between the texts and one token type."""

    class Tokenizer:
        pad_token_id = 1

        def __call__(self, texts, pair=None, **kwargs):
            if pair is not None:
                ids = [0, ord(texts), 2, 2, ord(pair), 2]
                return {"input_ids": ids, "token_type_ids": [0] * 6}
            return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    pairs = TextPairs(Tokenizer(), ["xy", "z"], 16)
    assert pairs.special == [[0], [2, 2], [2]]
    expected = [0, *b"z;xy;", 2, 2, *b"z", 2]
    output = pairs.tokens(tf.constant([[2, 1]]), tf.constant([2]))["input_ids"][0].numpy().tolist()
    assert output == expected + [1] * (16 - len(expected))


def test_logits_are_the_scores_of_every_row_and_candidate(cross_encoder):
    windows = random_windows(num_users=3, num_items=9, max_history=4)
    batch = next(iter(windows.batches(3)))
    candidates = [8, 2, 5]
    rows = [history for history, _ in next_item_rows(windows.subset(np.arange(3)))]
    padded = [[0] * (4 - len(history)) + history for history in rows]
    expected = cross_encoder.scores(padded, [candidates] * len(rows))
    assert len(rows) > 5
    call = tf.function(cross_encoder.logits)
    np.testing.assert_allclose(call(batch, tf.constant(candidates)), expected, atol=1e-5)


def planted_windows():
    """The next item is always the one whose text is the newest item's partner: 1-2, 3-4, ..."""
    random = np.random.default_rng(1)
    sequences = []
    for _ in range(60):
        pairs = random.permutation(4)[:3]
        sequences.append([item for pair in pairs for item in (2 * pair + 1, 2 * pair + 2)])
    windows = windows_from(sequences, num_items=8, max_history=6)
    labels = windows.labels.copy()
    labels[windows.history % 2 == 0] = 0  # the item after a partner is random
    return Windows(windows.catalogue, windows.users, windows.history, labels)


def flat_first_stage():
    def call(batch, candidate_ids):
        rows = tf.reduce_sum(tf.cast(batch[columns.LABELS] > 0, tf.int32))
        return tf.zeros(tf.stack([rows, tf.size(candidate_ids)]))

    return FunctionTeacher(call, fingerprint="flat")


PARTNERS = ("film", "galaxy", "space", "saloon", "cowboy", "wedding", "love", "king")
FIT = {"num_steps": 30, "batch_size": 8, "num_negatives": 1, "num_candidates": 2, "seed": 3}


@pytest.mark.nightly
def test_training_learns_which_texts_follow_each_other(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])
    model = BertCrossEncoder(encoder, PARTNERS, max_history_items=1, max_length=16, seed=0)
    before = {v.name: v.numpy() for v in encoder.model.variables}
    windows = planted_windows()
    seen = []
    losses = model.fit(
        windows,
        flat_first_stage(),
        **FIT | {"num_steps": 120, "learning_rate": 3e-3, "head_learning_rate": 1e-2},
        advance=seen.append,
    )
    assert len(losses) == 120 and seen == [1] * 120
    # One negative: ln 2 is the loss without any knowledge.
    assert np.mean(losses[:5]) > 0.4 and np.mean(losses[-20:]) < 0.2
    scores = model.scores([[1], [3], [5], [7]], [[2, 4, 6, 8]] * 4)
    assert np.argmax(scores, axis=1).tolist() == [0, 1, 2, 3]
    assert moved_layers(encoder, before) == {0, 1}  # and so not the embeddings, nor the pooler


def moved_layers(encoder, before):
    moved = {v.name for v in encoder.model.variables if (v.numpy() != before[v.name]).any()}
    return {int(name.split("layer_._")[1].split("/")[0]) for name in moved}


@pytest.mark.nightly
def test_only_the_top_layers_and_the_score_are_trained(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])
    model = BertCrossEncoder(encoder, PARTNERS, max_history_items=2, max_length=16, seed=0)
    before = {v.name: v.numpy() for v in encoder.model.variables}
    head = model.head.get_weights()
    model.fit(planted_windows(), flat_first_stage(), **FIT | {"num_steps": 2}, num_layers=1)
    assert moved_layers(encoder, before) == {1}
    assert (model.head.get_weights()[0] != head[0]).any()


@pytest.mark.nightly
def test_an_interrupted_training_ends_as_without_interruption(tiny_bert, tmp_path):
    def train(folder, stop_at=None):
        encoder = TextEncoder(tiny_bert[0])
        model = BertCrossEncoder(encoder, PARTNERS, max_length=16, dropout=0.5, seed=0)

        def advance(_, done=[0]):  # noqa: B006
            done[0] += 1
            if done[0] == stop_at:
                raise KeyboardInterrupt

        losses = model.fit(
            planted_windows(),
            flat_first_stage(),
            **FIT | {"num_steps": 7, "num_layers": 1},
            checkpoint_folder=folder,
            checkpoint_every=2,
            advance=advance,
        )
        return losses, model.fingerprint()

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", stop_at=5)
    resumed = train(tmp_path / "cut")
    np.testing.assert_allclose(resumed[0], whole[0], rtol=1e-5)  # threads sum in any order
    with pytest.raises(InputError, match="another training: .*batch_size was 8 and is 4"):
        BertCrossEncoder(TextEncoder(tiny_bert[0]), PARTNERS, max_length=16, seed=0).fit(
            planted_windows(),
            flat_first_stage(),
            **FIT | {"num_steps": 7, "num_layers": 1, "batch_size": 4},
            checkpoint_folder=tmp_path / "cut",
        )


def test_the_batches_of_an_epoch_are_all_rows_once():
    windows = planted_windows()
    batches = RowBatches(windows, 7, seed=0)
    rows = []
    for step in range(60):  # 180 rows need 25.7 batches
        batch = batches[step]
        assert (np.count_nonzero(batch[columns.LABELS], axis=1) == 1).all()
        for row in range(7):
            place = int(np.argmax(batch[columns.LABELS][row] > 0))
            window = int(batch[columns.EXAMPLE_ID][row])
            assert batch[columns.LABELS][row, place] == windows.labels[window, place]
            np.testing.assert_array_equal(batch[columns.HISTORY][row], windows.history[window])
            assert batch[columns.USER_ID][row] == windows.users[window]
            rows.append((window, place))
    everything = {tuple(row) for row in np.argwhere(windows.labels)}
    assert set(rows[:180]) == everything == set(rows[180:360]) and len(everything) == 180
    assert rows[:180] != rows[180:360]
    again = RowBatches(windows, 7, seed=0)
    np.testing.assert_array_equal(again[40][columns.LABELS], batches[40][columns.LABELS])
    other = RowBatches(windows, 7, seed=1)
    assert (other[0][columns.EXAMPLE_ID].numpy() != batches[0][columns.EXAMPLE_ID].numpy()).any()


@pytest.fixture
def eagerly():
    """One eager step is faster than tracing."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("signed", [False, True])
def test_a_step_is_weighted_by_the_labels_weights(tiny_bert, eagerly, signed):
    windows = with_weights(planted_windows())
    windows = with_dislikes(windows) if signed else windows
    model = BertCrossEncoder(TextEncoder(tiny_bert[0]), PARTNERS, max_length=16, seed=0)
    model.head.set_weights([5.0 * weight for weight in model.head.get_weights()])
    read = model.read
    model.read = lambda histories, items, training: read(histories, items, False)  # no dropout
    settings = FIT | {"hard_share": 0.5, "num_layers": 1, "warmup_share": 0.0}
    settings |= {"learning_rate": 1e-5, "head_learning_rate": 1e-5}
    training = CrossEncoderTraining(model, windows, flat_first_stage(), settings)
    batch = training.batches[0]
    labelled = batch[columns.LABELS].numpy() > 0
    weights = windows.weights[batch[columns.EXAMPLE_ID].numpy()][labelled]
    lists = training.lists_of(batch, tf.constant(batch[columns.LABELS].numpy()[labelled])).numpy()
    so_far = np.arange(windows.max_history) <= labelled.argmax(axis=1)[:, None]
    histories = np.where(so_far, batch[columns.HISTORY], 0)
    scores = np.float64(model.scores(histories, lists))
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[:, 0]
    losses = np.where(weights < 0, -np.log1p(-np.exp(-losses)), losses)
    training.take_step(0)
    expected = np.average(losses, weights=np.abs(weights))
    assert (weights < 0).any() == signed
    np.testing.assert_allclose(training.losses[0], expected, rtol=1e-5)
    assert abs(expected - losses.mean()) > 1e-3


def test_negatives_are_hard_and_uniform_and_never_the_label_or_seen():
    random = np.random.default_rng(0)
    logits = random.normal(size=(400, 12)).astype(np.float32)
    labels = random.integers(0, 12, 400).astype(np.int32)
    allowed = random.random((400, 12)) < 0.8
    counts = np.zeros((2, 12))
    drawn = draw_lists(
        tf.constant(logits), tf.constant(labels), tf.constant(allowed), tf.constant([1, 2]),
        num_hard=2, num_even=1, num_candidates=4,
    ).numpy()  # fmt: skip
    assert drawn.shape == (400, 4)
    for row, (label, *negatives) in enumerate(drawn):
        assert label == labels[row]
        free = [item for item in np.argsort(-logits[row]) if allowed[row, item] and item != label]
        assert len({label, *negatives}) == 4 and set(negatives) <= set(free)
        assert set(negatives[:2]) <= set(free[:4])
        for kind, places in ((0, negatives[:2]), (1, negatives[2:])):
            for item in places:
                counts[kind, free.index(item)] += 1
    # Every entry of the top four is drawn half of the time: 200 +- 10 of 400; 5 deviations.
    np.testing.assert_allclose(counts[0, :4], 200, atol=50)
    assert counts[1, 4:7].min() > 20  # uniform draws include others than the top


@pytest.mark.parametrize(("num_hard", "num_even"), [(0, 3), (3, 0)])
def test_negatives_of_one_kind_alone(num_hard, num_even):
    logits = tf.constant([[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]] * 60)
    drawn = draw_lists(
        logits, tf.zeros([60], tf.int32), tf.ones([60, 6], tf.bool), tf.constant([0, 0]),
        num_hard=num_hard, num_even=num_even, num_candidates=3,
    ).numpy()  # fmt: skip
    assert drawn.shape == (60, 4) and (drawn[:, 0] == 0).all()
    assert set(drawn[:, 1:].flat) == ({1, 2, 3} if num_hard else {1, 2, 3, 4, 5})


def test_a_steps_lists_exclude_seen_and_missing_items(cross_encoder):
    windows = random_windows(num_users=12, num_items=9, max_history=4)
    exists = np.arange(1, 10) < 9
    labels = np.where(windows.labels == 9, 0, windows.labels)
    some = Windows(windows.catalogue, windows.users, windows.history, labels, candidates=exists)
    settings = {
        "num_steps": 1, "batch_size": 64, "num_negatives": 2, "hard_share": 0.5, "seed": 0,
        "num_candidates": 2, "num_layers": 1, "learning_rate": 1e-5, "head_learning_rate": 1e-5,
        "warmup_share": 0.0,
    }  # fmt: skip
    favours = FunctionTeacher(lambda batch, ids: tf.tile(-tf.cast(ids, tf.float32)[None], [64, 1]))
    training = CrossEncoderTraining(cross_encoder, some, favours, settings)
    for step in range(3):
        batch = training.batches[step]
        wanted = batch[columns.LABELS].numpy().max(axis=1)
        lists = training.lists_of(batch, tf.constant(wanted)).numpy()
        assert (lists[:, 0] == wanted).all() and lists.shape == (64, 3)
        for row, (label, hard, even) in enumerate(lists):
            place = int(np.argmax(batch[columns.LABELS][row] > 0))
            seen = set(batch[columns.HISTORY][row, : place + 1].numpy())
            free = [item for item in range(1, 9) if item not in seen | {label}]
            assert hard in free[:2] and even in free and even != hard
        training.num_done.assign_add(1)


def test_a_loaded_one_returns_the_same_also_for_other_texts(tiny_bert, tmp_path):
    cross_encoder = BertCrossEncoder(
        TextEncoder(tiny_bert[0]), TEXTS, max_history_items=3, max_length=32, dropout=0.3
    )
    for variable in cross_encoder.weights.values():  # as training would
        variable.assign_add(0.01 * tf.random.stateless_normal(variable.shape, [0, 1]))
    cross_encoder.save(tmp_path / "saved")
    loaded = BertCrossEncoder.load(tmp_path / "saved", TextEncoder(tiny_bert[0]), TEXTS)
    assert loaded.fingerprint() == cross_encoder.fingerprint()
    assert (loaded.max_history_items, loaded.pairs.max_length) == (3, 32)
    assert loaded.head.layers[0].rate == 0.3
    expected = cross_encoder.scores([[1, 2, 3]], [[4, 5, 6]])
    np.testing.assert_allclose(loaded.scores([[1, 2, 3]], [[4, 5, 6]]), expected, atol=1e-6)
    turned = BertCrossEncoder.load(tmp_path / "saved", TextEncoder(tiny_bert[0]), TEXTS[::-1])
    np.testing.assert_allclose(turned.scores([[9, 8, 7]], [[6, 5, 4]]), expected, atol=1e-6)


def test_a_saved_one_refuses_another_checkpoint(tiny_bert, cross_encoder, tmp_path):
    cross_encoder.save(tmp_path / "saved")
    write_tiny_bert(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="trained from another checkpoint than .*other"):
        BertCrossEncoder.load(tmp_path / "saved", TextEncoder(tmp_path / "other"), TEXTS)
    adapted = TextEncoder(tiny_bert[0])
    adapted.model.get_input_embeddings().weights[0].assign_add(
        tf.ones_like(adapted.model.get_input_embeddings().weights[0])
    )
    for encoder in (adapted, TextEncoder(tiny_bert[0], pooling="cls")):
        with pytest.raises(InputError, match="trained from another checkpoint"):
            BertCrossEncoder.load(tmp_path / "saved", encoder, TEXTS)


def test_a_damaged_folder(tiny_bert, cross_encoder, tmp_path):
    encoder = TextEncoder(tiny_bert[0])
    cross_encoder.save(tmp_path / "saved")
    facts = json.loads((tmp_path / "saved" / "cross_encoder.json").read_text())

    def copy(name):
        return shutil.copytree(tmp_path / "saved", tmp_path / name)

    (copy("no_weights") / "cross_encoder.safetensors").unlink()
    (copy("cut") / "cross_encoder.json").write_text('{"format": 1')
    file = copy("short") / "cross_encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    (copy("newer") / "cross_encoder.json").write_text(json.dumps(facts | {"format": 3}))
    (copy("mixed") / "cross_encoder.json").write_text(json.dumps(facts | {"sha256": "a"}))
    for name, words in (
        ("absent", "holds no complete cross-encoder"),
        ("no_weights", "holds no complete cross-encoder"),
        ("cut", "holds no complete cross-encoder"),
        ("short", "holds no complete cross-encoder"),
        ("newer", "has format 3, this version reads format 2"),
        ("mixed", "was changed after saving: its sha256 differs"),
    ):
        with pytest.raises(InputError, match=words):
            BertCrossEncoder.load(tmp_path / name, encoder, TEXTS)


def test_the_fingerprint_depends_on_weights_texts_and_configuration(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])

    def made(texts=TEXTS, **options):
        return BertCrossEncoder(encoder, texts, **{"max_length": 32, "seed": 0} | options)

    variants = [
        made(),
        made(texts=TEXTS[::-1]),
        made(max_length=40),
        made(max_history_items=2),
        made(seed=1),
    ]
    prints = [model.fingerprint() for model in variants]
    assert len(set(prints)) == 5 and made().fingerprint() == prints[0]
    variants[0].stack.layer_variables()[0][0].assign_add(
        tf.ones_like(variants[0].stack.layer_variables()[0][0])
    )
    assert variants[0].fingerprint() != prints[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"max_length": 129},
            "positions for 128 tokens. Received: max_length=129. Give at most 128",
        ),
        ({"max_length": 10}, "room for at least 8 tokens next to the 3 special ones"),
        ({"max_history_items": 0}, "`max_history_items` must be a whole number of at least 1"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1"),
    ],
)
def test_invalid_arguments_are_refused(tiny_bert, options, words):
    with pytest.raises(ValueError, match=words):
        BertCrossEncoder(TextEncoder(tiny_bert[0]), TEXTS, **options)


def test_a_text_without_tokens_is_named(tiny_bert):
    with pytest.raises(InputError, match="no token in the text of item 2, ' '"):
        BertCrossEncoder(TextEncoder(tiny_bert[0]), ["king", " "])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_steps": 0}, "`num_steps` must be a whole number of at least 1"),
        ({"batch_size": 1.5}, "`batch_size` must be a whole number"),
        ({"num_negatives": 0}, "`num_negatives` must be a whole number"),
        ({"num_negatives": 5}, "`num_negatives` must be at most 4"),
        ({"num_candidates": 0}, "`num_candidates` must be a whole number"),
        ({"hard_share": 1.1}, "`hard_share` must be within 0 and 1"),
        ({"num_layers": 3}, "`num_layers` must be None or within 1 to 2"),
        ({"num_layers": 0}, "`num_layers` must be None or within 1 to 2"),
        ({"learning_rate": 0.0}, "learning rate must be greater than 0"),
        ({"warmup_share": 1.0}, "`warmup_share` must be at least 0 and below 1"),
    ],
)
def test_invalid_training_arguments_are_refused(cross_encoder, options, words):
    windows = random_windows(num_items=9, max_history=4)
    with pytest.raises(ValueError, match=words):
        cross_encoder.fit(windows, flat_first_stage(), **{"num_negatives": 2} | options)
