"""Train a teacher's BERT: its top layers, together with the towers that read its vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import columns
from tfrs_distill.data.windows import Windows
from tfrs_distill.losses.categorical_cross_entropy import categorical_cross_entropy
from tfrs_distill.teachers.bert_two_tower import BertTwoTower
from tfrs_distill.teachers.text_encoder import TextEncoder, mean_pool


class BertTop:
    """The top layers of a BERT over the stored output of the layers below.

    The lower layers are frozen, so what they make of every item's text is computed once; only the
    top layers run in a training step.

    Args:
        encoder: the text encoder whose layers are trained; it is changed in place.
        texts: every item's text, in catalogue order.
        num_layers: how many layers from the top.

    Raises:
        ValueError: `num_layers` is not within 1 to the encoder's own number of layers, or the model
            keeps its layers elsewhere than a BERT does.
    """

    def __init__(self, encoder: TextEncoder, texts: tuple[str, ...], num_layers: int) -> None:
        core = getattr(encoder.model, encoder.model.base_model_prefix, None)
        layers = getattr(getattr(core, "encoder", None), "layer", None)
        if layers is None:
            raise ValueError(
                "`finetune` needs a BERT with a stack of layers at `.encoder.layer` (BERT, "
                f"RoBERTa, MiniLM). Received: {type(encoder.model).__name__}."
            )
        if not 1 <= num_layers <= len(layers):
            raise ValueError(
                f"`num_layers` must be within 1 to {len(layers)}, the encoder's layers. Received: "
                f"num_layers={num_layers!r}."
            )
        self.layers = layers[-num_layers:]
        input_ids, self.mask = encoder.tokenize(texts)
        outputs = [
            encoder.model(
                input_ids=input_ids[start : start + 64],
                attention_mask=self.mask[start : start + 64],
                output_hidden_states=True,
                training=False,
            )
            .hidden_states[-1 - num_layers]
            .numpy()
            for start in range(0, len(texts), 64)
        ]
        self.lower = tf.constant(np.concatenate(outputs))

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """The weights of the top layers."""
        return [variable for layer in self.layers for variable in layer.trainable_variables]

    def vectors(self, item_ids: tf.Tensor, training: bool) -> tf.Tensor:
        """Text vectors of item indices, float32 [num_items, text_dim]."""
        mask = tf.gather(tf.constant(self.mask), item_ids - 1)
        hidden = tf.gather(self.lower, item_ids - 1)
        bias = (1.0 - tf.cast(mask, tf.float32))[:, None, None, :] * -1e9
        for layer in self.layers:
            hidden = layer(
                hidden_states=hidden,
                attention_mask=bias,
                head_mask=None,
                encoder_hidden_states=None,
                encoder_attention_mask=None,
                past_key_value=None,
                output_attentions=False,
                training=training,
            )[0]
        return mean_pool(hidden, mask)


def finetune(
    teacher: BertTwoTower,
    encoder: TextEncoder,
    windows: Windows,
    *,
    num_layers: int,
    num_steps: int = 300,
    batch_size: int = 8,
    num_negatives: int = 128,
    learning_rate: float = 5e-5,
    seed: int = 0,
    advance: Callable[[int], Any] | None = None,
) -> list[float]:
    """Train the BERT's top layers and the teacher's towers together, then refresh its text vectors.

    A step reads the texts of the items in its windows and of `num_negatives` others drawn evenly,
    and minimises the cross-entropy of the next item among those. Both `teacher` and `encoder` are
    changed in place; the teacher's text vectors are afterwards those of the trained BERT.

    Args:
        teacher: a `BertTwoTower`, best after `fit` with frozen vectors.
        encoder: the text encoder whose vectors it reads.
        windows: training windows.
        num_layers: layers to train, from the top.
        num_steps: steps to train for.
        batch_size: windows a step.
        num_negatives: items read beside those of the windows.
        learning_rate: Adam's; the towers learn at ten times of it.
        seed: of batch order and negatives.
        advance: called with the number of steps done since the last call.

    Returns:
        The loss of each step.
    """
    top = BertTop(encoder, windows.catalogue.texts, num_layers)
    bert_optimizer = tf.keras.optimizers.Adam(learning_rate)
    tower_optimizer = tf.keras.optimizers.Adam(10 * learning_rate)
    generator = np.random.default_rng(seed)

    @tf.function(reduce_retracing=True)
    def step(history: tf.Tensor, labels: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            vectors = top.vectors(items, training=True)
            loss = _sampled_loss(teacher, vectors, history, labels, items)
        bert, towers = top.trainable_variables, teacher.trainable_variables
        gradients = tape.gradient(loss, bert + towers)
        bert_optimizer.apply_gradients(zip(gradients[: len(bert)], bert))
        tower_optimizer.apply_gradients(zip(gradients[len(bert) :], towers))
        return loss

    bert_optimizer.build(top.trainable_variables)
    tower_optimizer.build(teacher.trainable_variables)
    losses: list[float] = []
    num_items = windows.catalogue.num_items
    for batch in windows.batches(batch_size, seed=seed).repeat().take(num_steps):
        history, labels = batch[columns.HISTORY], batch[columns.LABELS]
        others = generator.choice(num_items, min(num_negatives, num_items), replace=False) + 1
        met = np.union1d(history.numpy(), labels.numpy())
        items = np.union1d(met[met > columns.PADDING], others).astype(np.int32)
        losses.append(float(step(history, labels, tf.constant(items))))
        if advance is not None:
            advance(1)
    ids = tf.range(1, num_items + 1)
    vectors = [
        top.vectors(ids[start : start + 256], training=False).numpy()
        for start in range(0, num_items, 256)
    ]
    teacher.candidate_tower.set_text_vectors(np.concatenate(vectors))
    return losses


def _sampled_loss(
    teacher: BertTwoTower,
    vectors: tf.Tensor,
    history: tf.Tensor,
    labels: tf.Tensor,
    items: tf.Tensor,
) -> tf.Tensor:
    """Mean cross-entropy of the next item among `items`, read with their fresh text vectors."""
    tower = teacher.candidate_tower
    biases = tf.gather(tower.biases, items)
    fresh = tf.gather(tower.id_embeddings, items) + tower.projection(vectors)
    places = tf.searchsorted(items, tf.reshape(history, [-1]))
    met = tf.gather(fresh, tf.minimum(places, tf.size(items) - 1))
    met = tf.reshape(met, [tf.shape(history)[0], teacher.max_history, tower.embedding_dim])
    present = history > columns.PADDING
    queries = teacher.query_tower.encoder(met, present, training=True)
    labelled = labels > columns.PADDING
    logits = tf.matmul(tf.boolean_mask(queries, labelled), fresh, transpose_b=True) + biases
    targets = tf.searchsorted(items, tf.boolean_mask(labels, labelled))
    return tf.reduce_mean(categorical_cross_entropy(targets, logits))
