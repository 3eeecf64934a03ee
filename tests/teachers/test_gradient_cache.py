"""Chunked gradients compared with complete ones: equal numbers, one chunk on a tape at a time."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.teachers.bert.gradient_cache import GradientCache

DIM = 3


class Model:
    """Embeds ids (sparse gradients) and multiplies; the loss uses all pairs of vectors."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.table = tf.Variable(random.normal(size=(7, 4)), dtype=tf.float32)
        self.kernel = tf.Variable(random.normal(size=(4, DIM)), dtype=tf.float32)
        self.frozen = tf.Variable(random.normal(size=(DIM, DIM)), dtype=tf.float32)
        self.head = tf.Variable(random.normal(size=(DIM, DIM)), dtype=tf.float32)
        self.unused = tf.Variable(tf.ones([2]))
        self.encoded = tf.Variable(0, trainable=False)

    def encode(self, ids):
        self.encoded.assign_add(tf.size(ids))
        return tf.tanh(tf.gather(self.table, ids) @ self.kernel) @ self.frozen

    def loss(self, vectors, labels):
        logits = tf.matmul(vectors @ self.head, vectors, transpose_b=True)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


IDS = np.array([0, 3, 3, 6, 1, 2, 5, 0, 4])
LABELS = tf.constant([4, 2, 0, 1, 8, 3, 6, 5, 7])


def cache_of(model):
    return GradientCache(
        model.encode,
        model.loss,
        [model.table, model.kernel, model.unused],
        [model.head],
        chunk_signature=[tf.TensorSpec([None], tf.int32)],
        loss_signature=[tf.TensorSpec([None], tf.int32)],
        dim=DIM,
    )


def chunks_of(sizes):
    return [(tf.constant(ids, tf.int32),) for ids in np.split(IDS, np.cumsum(sizes)[:-1])]


def whole_in_numpy(model):
    """Loss and its gradients by float64 difference quotients, so by definition."""
    names = ("table", "kernel", "head")
    values = {n: getattr(model, n).numpy().astype(np.float64) for n in names}
    frozen = model.frozen.numpy().astype(np.float64)

    def loss():
        vectors = np.tanh(values["table"][IDS] @ values["kernel"]) @ frozen
        logits = vectors @ values["head"] @ vectors.T
        log_sum = np.log(np.exp(logits).sum(axis=1))
        return (log_sum - logits[np.arange(len(IDS)), LABELS.numpy()]).mean()

    gradients = {}
    for name, value in values.items():
        gradients[name] = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            kept, ends = value[place], []
            for shift in (1e-5, -1e-5):
                value[place] = kept + shift
                ends.append(loss())
            value[place] = kept
            gradients[name][place] = (ends[0] - ends[1]) / 2e-5
    return loss(), gradients


@pytest.mark.parametrize("sizes", [[9], [3, 3, 3], [1, 2, 6], [1] * 9])
def test_loss_and_gradients_are_those_without_chunks(sizes):
    model = Model()
    expected_loss, expected = whole_in_numpy(model)
    cache = cache_of(model)
    loss = cache.step(chunks_of(sizes), LABELS)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    table, kernel, unused, head = cache.gradients
    for found, name in ((table, "table"), (kernel, "kernel"), (head, "head")):
        # 1e-5: float32 sums of terms near 1.
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(unused, [0.0, 0.0])
    # Every chunk is read twice, except the last one.
    assert int(model.encoded) == 2 * len(IDS) - sizes[-1]


def test_steps_are_summed_until_they_are_cleared():
    cache = cache_of(Model())
    cache.step(chunks_of([4, 5]), LABELS)
    once = [gradient.numpy() for gradient in cache.gradients]
    cache.step(chunks_of([9]), LABELS)
    for gradient, expected in zip(cache.gradients, once):
        np.testing.assert_allclose(gradient, 2 * expected, rtol=1e-5, atol=1e-6)
    cache.clear()
    assert all(not gradient.numpy().any() for gradient in cache.gradients)


def test_weights_are_not_changed():
    model = Model()
    before = [v.numpy() for v in (model.table, model.kernel, model.frozen, model.head)]
    cache_of(model).step(chunks_of([4, 5]), LABELS)
    for variable, value in zip((model.table, model.kernel, model.frozen, model.head), before):
        np.testing.assert_array_equal(variable, value)
