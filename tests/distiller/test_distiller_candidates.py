"""The candidates of a step's softmax: equal for student and teacher, and as in TFRS."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
from nightly import one_in
from tiny_data import random_windows, tiny_catalogue

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.distiller import Distiller
from tfrs_distill.losses import SoftTargetKLDivergence
from tfrs_distill.models import Candidates, RetrievalStudent, TwoTower

NUM_ITEMS, MAX_HISTORY, DIM, NUM_NEGATIVES = 12, 4, 4, 2
TEMPERATURE = 2.0
LN = math.log
# float32 sums of a dozen numbers of the size of 10, against float64.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def student_of(candidates=None, seed=1):
    """A student with weights as large as trained ones."""
    student = RetrievalStudent.from_history(
        num_items=NUM_ITEMS,
        max_history=MAX_HISTORY,
        embedding_dim=DIM,
        candidates=candidates,
    )
    random = np.random.default_rng(seed)
    tower = student.query_tower
    tower.set_weights([random.normal(size=w.shape, scale=0.7) for w in tower.get_weights()])
    return student


def untrained(candidates):
    """A student that gives every item the logit 0."""
    student = student_of(candidates)
    student.candidate_tower.id_embeddings.assign(tf.zeros([NUM_ITEMS + 1, DIM]))
    student.candidate_tower.biases.assign(tf.zeros([NUM_ITEMS + 1]))
    return student


class TableTeacher:
    """Logits by the latest item."""

    def __init__(self):
        self.table = np.random.default_rng(3).normal(size=[NUM_ITEMS + 1] * 2, scale=2.0)

    def logits(self, batch, candidate_ids):
        row = batch[columns.LABELS] > 0
        interacted = tf.boolean_mask(batch[columns.HISTORY], row)
        rows = tf.gather(tf.constant(self.table, tf.float32), interacted)
        return tf.gather(rows, candidate_ids, axis=1)


HISTORY = np.array([[0, 3, 5, 1], [2, 4, 3, 7], [0, 0, 0, 9], [6, 2, 11, 6], [0, 12, 10, 8]])
LABELS = np.array([[0, 5, 1, 8], [4, 0, 7, 5], [0, 0, 0, 5], [2, 11, 6, 1], [0, 0, 8, 12]])
POSITIONS = np.argwhere(LABELS)  # (example, position) of each row of the loss
ROWS = len(POSITIONS)
ROW_LABELS = LABELS[LABELS > 0]
NUM_CANDIDATES = {
    "catalogue": NUM_ITEMS,
    "batch": ROWS,
    "sampled": ROWS + len(HISTORY) * NUM_NEGATIVES,
}
PROBABILITY = np.random.default_rng(5).dirichlet(np.ones(NUM_ITEMS + 1)).astype(np.float32)


def batch_of(source="catalogue", log_q=False, score_mask=False):
    """Labels that repeat, repeated interactions, and the requested columns."""
    random = np.random.default_rng(7)
    batch = {columns.HISTORY: HISTORY.astype(np.int32), columns.LABELS: LABELS.astype(np.int32)}
    if log_q or source == "sampled":
        batch[columns.CANDIDATE_SAMPLING_PROBABILITY] = PROBABILITY[LABELS]
    if source == "sampled":
        negatives = random.integers(1, NUM_ITEMS + 1, [len(HISTORY), NUM_NEGATIVES])
        negatives[0] = 5, 3  # copies of labels, and an item of the history
        batch[columns.NEGATIVES] = negatives.astype(np.int32)
        batch[columns.NEGATIVES_SAMPLING_PROBABILITY] = PROBABILITY[negatives]
    if score_mask:
        mask = random.random([*HISTORY.shape, NUM_CANDIDATES[source]]) < 0.7
        # TFRS would mask the row's own label; this package never does, so it stays for both.
        own = ROW_LABELS - 1 if source == "catalogue" else np.arange(ROWS)
        mask[tuple(POSITIONS.T) + (own,)] = True
        batch[columns.SCORE_MASK] = mask
    return {name: tf.constant(column) for name, column in batch.items()}


SWITCHES = (False, True)
HARD = (None, 3)
COMBINATIONS = [
    # source, accidental hits, seen, hard negatives, logQ, score mask; the first four are settings
    *itertools.product(["batch"], SWITCHES, SWITCHES, HARD, SWITCHES, SWITCHES),
    *itertools.product(["sampled"], SWITCHES, SWITCHES, HARD, [True], SWITCHES),
    *itertools.product(["catalogue"], [True], SWITCHES, HARD, [False], SWITCHES),
]


def names_of(combination):
    names = ("hits", "seen", "hard", "logq", "mask")
    return "-".join([combination[0], *(n for n, on in zip(names, combination[1:]) if on)])


def every(combinations):
    """All combinations; a fifth of them by default."""
    cases = [(combination,) for combination in combinations]
    return pytest.mark.parametrize(
        ("combination",), one_in(5, cases), ids=map(names_of, combinations)
    )


def settings_of(combination):
    """`(Candidates, batch)` of a combination."""
    source, hits, seen, hard, log_q, score_mask = combination
    return Candidates(source, hits, seen, hard), batch_of(source, log_q, score_mask)


def rows_and_candidates(student, batch):
    """Query embeddings `[ROWS, dim]` and candidate ids, by a loop over the batch."""
    so_far = np.zeros([ROWS, MAX_HISTORY], np.int32)
    for row, (example, position) in enumerate(POSITIONS):
        so_far[row, : position + 1] = HISTORY[example, : position + 1]
    queries = student.encode_histories(tf.constant(so_far))
    if student.candidates.source == "catalogue":
        return queries, np.arange(1, NUM_ITEMS + 1)
    ids = ROW_LABELS
    if student.candidates.source == "sampled":
        ids = np.concatenate([ids, batch[columns.NEGATIVES].numpy().reshape(-1)])
    return queries, ids


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def expected_terms(student, teacher, batch):
    """`(student_loss, distillation_loss)` in float64: row by row, by the definition."""
    settings = student.candidates
    queries, ids = rows_and_candidates(student, batch)
    embeddings = student.catalogue_embeddings().numpy().astype(np.float64)[ids]
    correction = np.zeros(len(ids))
    if settings.source != "catalogue" and columns.CANDIDATE_SAMPLING_PROBABILITY in batch:
        correction = np.log(np.clip(PROBABILITY.astype(np.float64)[ids], 1e-6, 1.0))
    cross_entropies, divergences = [], []
    for row, (example, position) in enumerate(POSITIONS):
        own = ROW_LABELS[row] - 1 if settings.source == "catalogue" else row
        interacted = HISTORY[example, : position + 1]
        student_logits = embeddings @ queries[row].numpy().astype(np.float64) - correction
        teacher_logits = teacher.table[interacted[-1]][ids] - correction
        others = [j for j in range(len(ids)) if j != own]
        if settings.source != "catalogue" and settings.remove_accidental_hits:
            others = [j for j in others if ids[j] != ids[own]]
        if settings.exclude_seen:
            others = [j for j in others if ids[j] not in interacted]
        if columns.SCORE_MASK in batch:
            allowed = batch[columns.SCORE_MASK].numpy()[example, position]
            others = [j for j in others if allowed[j]]
        others.sort(key=lambda j: -student_logits[j])
        kept = [own, *others[: settings.num_hard_negatives]]
        cross_entropies.append(-log_softmax(student_logits[kept])[0])
        p = log_softmax(teacher_logits[kept] / TEMPERATURE)
        q = log_softmax(student_logits[kept] / TEMPERATURE)
        divergences.append(TEMPERATURE**2 * np.sum(np.exp(p) * (p - q)))
    return np.mean(cross_entropies), np.mean(divergences)


@every(COMBINATIONS)
def test_student_and_teacher_get_the_same_candidates(combination):
    settings, batch = settings_of(combination)
    student, teacher = student_of(settings), TableTeacher()
    distiller = Distiller(student, teacher, SoftTargetKLDivergence(TEMPERATURE))
    terms = distiller.loss_terms(batch, training=False)
    cross_entropy, divergence = expected_terms(student, teacher, batch)
    np.testing.assert_allclose(terms["student_loss"], cross_entropy, **CLOSE)
    np.testing.assert_allclose(terms["distillation_loss"], divergence, **CLOSE)
    assert divergence > 0.05  # otherwise the test checks nothing


def gradients_of(loss, student, tape):
    gradients = tape.gradient(loss, student.trainable_variables)
    return [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


@every(COMBINATIONS)
def test_a_student_with_the_teachers_weights_has_no_gradient(combination):
    settings, batch = settings_of(combination)
    student = student_of(settings)
    teacher = TwoTower.from_config(student_of().get_config())
    teacher.query_tower.set_weights(student.query_tower.get_weights())
    distiller = Distiller(
        student, teacher, SoftTargetKLDivergence(TEMPERATURE), student_loss_weight=0.0
    )
    with tf.GradientTape() as tape:
        loss = distiller.loss_terms(batch, training=True)["total_loss"]
    # The two sides are equal to the last bit, so the loss is; the gradient is a difference of
    # probabilities that each sum to 1 up to float32's rounding.
    np.testing.assert_allclose(loss, 0.0, atol=1e-7)
    for gradient in gradients_of(loss, student, tape):
        np.testing.assert_allclose(gradient, 0.0, atol=2e-6)


def test_a_student_with_other_weights_than_the_teachers_has_a_gradient():
    student, teacher = student_of(Candidates("batch")), student_of(seed=2)
    distiller = Distiller(student, teacher, SoftTargetKLDivergence(), student_loss_weight=0.0)
    with tf.GradientTape() as tape:
        loss = distiller.loss_terms(batch_of("batch"), training=True)["total_loss"]
    assert loss > 0.1
    assert max(abs(gradient).max() for gradient in gradients_of(loss, student, tape)) > 0.01


EVERYTHING = [c for c in COMBINATIONS if c[2] and c[-1]]


@every(EVERYTHING)
def test_a_student_with_the_teachers_weights_agrees_on_the_best_candidates(combination):
    settings, batch = settings_of(combination)
    student = student_of(settings)
    distiller = Distiller(student, student_of(), SoftTargetKLDivergence(), agreement_k=3)
    distiller.compile(run_eagerly=True)
    logs = distiller.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
    assert logs["agreement@3"] == 1.0


@pytest.mark.parametrize("k", [1, 2, 4])
def test_masked_candidates_do_not_count_in_the_agreement(k):
    mask = np.zeros([*HISTORY.shape, NUM_ITEMS], bool)
    mask[..., :3] = True  # a row has these candidates, and its label
    student, teacher = student_of(), student_of(seed=2)
    distiller = Distiller(student, teacher, SoftTargetKLDivergence(), agreement_k=k)
    distiller.compile(run_eagerly=True)
    data = tf.data.Dataset.from_tensors(batch_of() | {columns.SCORE_MASK: mask})
    found = distiller.evaluate(data, verbose=0, return_dict=True)[f"agreement@{k}"]
    shares = []
    queries = [model.encode_rows(batch_of()).numpy() for model in (student, teacher)]
    tables = [model.catalogue_embeddings().numpy()[1:] for model in (student, teacher)]
    for row, label in enumerate(ROW_LABELS):
        left = np.union1d([0, 1, 2], label - 1)
        best = [
            set(left[np.argsort(-(table[left] @ of_rows[row]))][:k])
            for of_rows, table in zip(queries, tables)
        ]
        shares.append(len(best[0] & best[1]) / min(k, len(left)))
    assert found == pytest.approx(np.mean(shares), abs=1e-6)
    assert (found == 1.0) == (k == 4)


def test_a_mask_of_all_items_is_refused_for_candidates_of_the_batch():
    windows = random_windows(num_items=NUM_ITEMS, max_history=MAX_HISTORY)
    windows = replace(windows, candidates=np.ones(NUM_ITEMS, bool))
    student = student_of(Candidates("batch"))
    with pytest.raises(ValueError, match=r"is over all .* items.*num_negatives=N"):
        student(next(iter(windows.batches(3))))
    student(next(iter(windows.batches(3, num_negatives=0))))


# `tfrs.tasks.Retrieval` has no histories, so no seen items.
OF_TFRS = [c for c in COMBINATIONS if c[0] != "catalogue" and not c[2]]


@every(OF_TFRS)
def test_the_student_loss_is_that_of_the_tfrs_task(combination):
    settings, batch = settings_of(combination)
    student = student_of(settings)
    task = tfrs.tasks.Retrieval(
        loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        num_hard_negatives=settings.num_hard_negatives,
        remove_accidental_hits=settings.remove_accidental_hits,
    )
    distiller = Distiller(student, TableTeacher(), SoftTargetKLDivergence())
    log_q, score_mask = combination[4:]
    with tf.GradientTape(persistent=True) as tape:
        queries, ids = rows_and_candidates(student, batch)
        expected = task(
            queries,
            student.encode_candidates(tf.constant(ids)),
            candidate_ids=tf.constant(ids),
            candidate_sampling_probability=PROBABILITY[ids] if log_q else None,
            score_mask=batch[columns.SCORE_MASK][LABELS > 0] if score_mask else None,
        )
        loss = distiller.loss_terms(batch, training=True)["student_loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)  # the same sums in another order
    gradients = (gradients_of(each, student, tape) for each in (loss, expected))
    for ours, theirs in zip(*gradients):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("source", ["catalogue", "batch", "sampled"])
def test_a_score_mask_may_be_one_for_all_positions_of_an_example(source):
    batch = batch_of(source)
    mask = np.random.default_rng(1).random([len(HISTORY), NUM_CANDIDATES[source]]) < 0.6
    at_each = np.repeat(mask[:, None], MAX_HISTORY, axis=1)
    distiller = Distiller(student_of(Candidates(source)), TableTeacher(), SoftTargetKLDivergence())
    short, long, none = (
        distiller.loss_terms(batch | column, training=False)
        for column in (
            {columns.SCORE_MASK: tf.constant(mask)},
            {columns.SCORE_MASK: tf.constant(at_each)},
            {},
        )
    )
    for name in short:
        np.testing.assert_array_equal(short[name], long[name])
        assert abs(short[name] - none[name]) > 1e-3


def test_a_mask_that_leaves_only_the_label_has_loss_0():
    batch = batch_of("batch")
    batch[columns.SCORE_MASK] = tf.zeros([len(HISTORY), ROWS], tf.bool)
    distiller = Distiller(student_of(Candidates("batch")), TableTeacher(), SoftTargetKLDivergence())
    with tf.GradientTape() as tape:
        terms = distiller.loss_terms(batch, training=True)
    for term in terms.values():
        np.testing.assert_allclose(term, 0.0, atol=1e-7)
    for gradient in gradients_of(terms["total_loss"], distiller.student, tape):
        np.testing.assert_allclose(gradient, 0.0, atol=1e-6)  # and not NaN


def test_sampling_probabilities_do_not_matter_for_catalogue_candidates():
    distiller = Distiller(student_of(), TableTeacher(), SoftTargetKLDivergence())
    plain, corrected = (
        distiller.loss_terms(batch_of("catalogue", log_q=log_q), training=False)
        for log_q in (False, True)
    )
    for name in plain:
        np.testing.assert_array_equal(plain[name], corrected[name])


def student_loss(settings, batch):
    """The loss of a student that gives every item the logit 0."""
    distiller = Distiller(untrained(settings), TableTeacher(), SoftTargetKLDivergence())
    return distiller.loss_terms(batch, training=True)["student_loss"]


def test_an_untrained_catalogue_student_has_loss_ln_num_items():
    # The log-sum-exp of 12 zeros: float32's own rounding of ln 12.
    np.testing.assert_allclose(student_loss(None, batch_of()), LN(NUM_ITEMS), rtol=2e-7)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_an_untrained_catalogue_student_logs_ln_num_items_for_every_batch_size(batch_size):
    windows = Windows(
        tiny_catalogue(NUM_ITEMS),
        np.arange(len(HISTORY), dtype=np.int32),
        HISTORY.astype(np.int32),
        LABELS.astype(np.int32),
    )
    distiller = Distiller(untrained(None), TableTeacher(), SoftTargetKLDivergence())
    distiller.compile(optimizer=tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    batches = windows.batches(batch_size)
    logs = distiller.evaluate(batches, verbose=0, return_dict=True)
    curve = distiller.fit(batches, verbose=0).history
    # A mean of means of 14 values: a few roundings.
    np.testing.assert_allclose(logs["student_loss"], LN(NUM_ITEMS), rtol=5e-7)
    np.testing.assert_allclose(curve["student_loss"], [LN(NUM_ITEMS)], rtol=5e-7)


def four_rows(labels=(3, 5, 3, 7), **given):
    """Two windows of two items with these labels."""
    batch = {
        columns.HISTORY: tf.constant([[0, 0, 5, 1], [0, 0, 7, 2]]),
        columns.LABELS: tf.constant([[0, 0, *labels[:2]], [0, 0, *labels[2:]]]),
    }
    return batch | {name: tf.constant(column) for name, column in given.items()}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Four candidates for every row.
        ({"remove_accidental_hits": False}, LN(4)),
        # For both rows of label 3 the other's 3 is removed.
        ({}, (2 * LN(3) + 2 * LN(4)) / 4),
        # Row 2 has items 5 and 1 in its history: its label stays. Row 1 has 5: without the other 3,
        # 3 and 7 are left. Rows 3 and 4 have 7, row 4's own label.
        ({"exclude_seen": True}, (LN(2) + LN(4) + LN(2) + LN(4)) / 4),
        ({"num_hard_negatives": 2}, LN(3)),
        ({"num_hard_negatives": 1}, LN(2)),
        # All candidates.
        ({"num_hard_negatives": 9}, (2 * LN(3) + 2 * LN(4)) / 4),
    ],
)
def test_an_untrained_in_batch_student_has_loss_ln_of_the_candidates_per_row(settings, expected):
    loss = student_loss(Candidates("batch", **settings), four_rows())
    np.testing.assert_allclose(loss, expected, rtol=5e-7)


def test_distinct_labels_are_as_many_candidates_as_rows():
    loss = student_loss(Candidates("batch"), four_rows((3, 5, 8, 7)))
    np.testing.assert_allclose(loss, LN(4), rtol=5e-7)


def test_one_label_alone_has_no_other_candidate():
    assert student_loss(Candidates("batch"), four_rows((3, 3, 3, 3))) == 0.0


SAMPLED = {
    columns.NEGATIVES: [[9, 10, 5], [9, 3, 11]],
    columns.NEGATIVES_SAMPLING_PROBABILITY: [[0.5, 0.25, 0.2], [0.5, 0.1, 0.01]],
    columns.CANDIDATE_SAMPLING_PROBABILITY: [[1.0, 1.0, 0.1, 0.2], [1.0, 1.0, 0.1, 0.05]],
}


def test_an_untrained_sampled_student_has_the_loss_by_hand():
    # Logit of a candidate drawn with probability q: -ln q. So a row of label l has the loss
    # ln(sum of its candidates' 1/q) + ln q_l. All candidates: 3, 5, 3, 7, 9, 10, 5, 9, 3, 11 with
    # 1/q of 10, 5, 10, 20, 2, 4, 5, 2, 10, 100 = 168. Label 3 excludes its two copies: 148.
    # Label 5 excludes one: 163. Label 7 none.
    expected = (2 * LN(148 * 0.1) + LN(163 * 0.2) + LN(168 * 0.05)) / 4
    loss = student_loss(Candidates("sampled"), four_rows(**SAMPLED))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    # And with all copies: three 3s and two 5s.
    expected = (2 * LN(168 * 0.1) + LN(168 * 0.2) + LN(168 * 0.05)) / 4
    loss = student_loss(Candidates("sampled", False), four_rows(**SAMPLED))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_an_untrained_in_batch_student_has_the_loss_by_hand_with_log_q():
    name = columns.CANDIDATE_SAMPLING_PROBABILITY
    # Labels 3, 5, 3, 7 with 1/q of 10, 5, 10, 20.
    expected = (2 * LN(35 * 0.1) + LN(45 * 0.2) + LN(45 * 0.05)) / 4
    loss = student_loss(Candidates("batch"), four_rows(**{name: SAMPLED[name]}))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_teachers_soft_targets_are_over_the_hard_negatives_by_hand():
    """The student chooses the negatives, the teacher scores only those."""
    student = untrained(Candidates("catalogue", num_hard_negatives=1))
    student.candidate_tower.biases.assign([0.0, 0.0, 2.0, 4.0, *[-50.0] * 9])
    output = np.zeros([1, NUM_ITEMS], np.float32)
    output[0, :3] = LN(3), 77.0, 0.0  # the teacher's highest logit, of item 2, is not used
    teacher = lambda batch, ids: tf.gather(tf.constant(output), ids - 1, axis=1)  # noqa: E731
    distiller = Distiller(student, teacher, SoftTargetKLDivergence())
    batch = {
        columns.HISTORY: tf.constant([[0, 0, 0, 5]]),
        columns.LABELS: tf.constant([[0, 0, 0, 1]]),
    }
    terms = distiller.loss_terms(batch, training=False)
    # Item 1 (bias 0) against item 3 (bias 4): q = softmax [0, 4], p = [3/4, 1/4].
    log_q = log_softmax(np.array([0.0, 4.0]))
    np.testing.assert_allclose(terms["student_loss"], -log_q[0], rtol=1e-6)
    divergence = 3 / 4 * (LN(3 / 4) - log_q[0]) + 1 / 4 * (LN(1 / 4) - log_q[1])
    np.testing.assert_allclose(terms["distillation_loss"], divergence, rtol=1e-6)


def test_fit_uses_the_candidates_too():
    """One step of gradient descent on the biases of an untrained student, in closed form."""
    student = untrained(Candidates("sampled"))
    distiller = Distiller(
        student, TableTeacher(), SoftTargetKLDivergence(), student_loss_weight=1.0
    )
    distiller.compile(optimizer=tf.keras.optimizers.SGD(1.0))  # traced
    distiller.train_on_batch(four_rows(**SAMPLED))
    # The gradient for a row's logit j is softmax_j - 1 at the label; softmax_j = 1/q_j over the
    # row's sum, see above.
    ids = [3, 5, 3, 7, 9, 10, 5, 9, 3, 11]
    inverse = [10, 5, 10, 20, 2, 4, 5, 2, 10, 100]
    gradient = np.zeros(NUM_ITEMS + 1)
    for row in range(4):
        kept = [j for j in range(10) if j == row or ids[j] != ids[row]]
        total = sum(inverse[j] for j in kept)
        for j in kept:
            gradient[ids[j]] += (inverse[j] / total - (j == row)) / 4
    np.testing.assert_allclose(student.candidate_tower.biases, -gradient, atol=1e-6)


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        (columns.NEGATIVES, r"need the columns \['negatives'\]"),
        (columns.NEGATIVES_SAMPLING_PROBABILITY, r"\['negatives_sampling_probability'\]"),
        (columns.CANDIDATE_SAMPLING_PROBABILITY, r"\['candidate_sampling_probability'\]"),
    ],
)
def test_a_missing_column_of_sampled_candidates_is_named_before_training(absent, words):
    batch = batch_of("sampled")
    del batch[absent]
    student = student_of(Candidates("sampled"))
    before = student.get_weights()
    distiller = Distiller(student, TableTeacher(), SoftTargetKLDivergence())
    distiller.compile(optimizer="adam")
    with pytest.raises(ValueError, match=words + r".*`windows.batches\(batch_size, num_negativ"):
        distiller.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    for now, then in zip(student.get_weights(), before):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("source", ["batch", "sampled"])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_in_batch_candidates_without_labels_are_refused(source, weight):
    batch = batch_of(source)
    del batch[columns.LABELS]
    distiller = Distiller(
        student_of(Candidates(source)),
        TableTeacher(),
        SoftTargetKLDivergence(),
        student_loss_weight=weight,
    )
    with pytest.raises(ValueError, match=r"no column 'labels'\. Use source='catalogue' for unlab"):
        distiller.loss_terms(batch, training=True)


@pytest.mark.parametrize("source", ["batch", "sampled"])
def test_distributions_as_labels_of_in_batch_candidates_are_refused(source):
    batch = batch_of(source)
    batch[columns.LABELS] = tf.one_hot(batch[columns.LABELS] - 1, NUM_ITEMS)
    distiller = Distiller(student_of(Candidates(source)), TableTeacher(), SoftTargetKLDivergence())
    with pytest.raises(ValueError, match="must be item indices.*source='catalogue'.*Received"):
        distiller.loss_terms(batch, training=True)


@pytest.mark.parametrize("source", ["catalogue", "batch", "sampled"])
def test_a_student_keeps_its_candidates_when_it_is_saved(tmp_path, source):
    settings = Candidates(source, remove_accidental_hits=False, exclude_seen=True)
    student = student_of(settings)
    student.save(tmp_path / "student.keras")
    again = tf.keras.models.load_model(tmp_path / "student.keras")
    assert again.candidates == settings
    batch = batch_of(source, log_q=True)
    np.testing.assert_array_equal(again(batch).logits, student(batch).logits)
