"""A BERT that reads a row's text and answers several tasks at once: a rating, a yes or no."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.errors import InputError
from tfrs_distill.models.tasks import NextItem, RankingTask
from tfrs_distill.teachers.bert.bert_text_ranker_training import train_text_ranker
from tfrs_distill.teachers.bert.checkpoint import max_positions
from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.pooling import pool
from tfrs_distill.teachers.bert.task_heads import TaskHeads
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.token_windows import TokenWindows, token_windows
from tfrs_distill.teachers.bert.tuned_bert_file import (
    base_fingerprint,
    read_tuned_bert,
    write_tuned_bert,
)
from tfrs_distill.teachers.whole_number import check_whole_number

KIND = "text ranker"
LENGTH_STEP = 8  # texts are padded to a multiple of this


class BertTextRanker:
    """Reads one text a row, a review for instance, and gives logits for every task.

    `logits_t = head_t(pooled(BERT([CLS] text [SEP])))` for each task t, with the task's own head,
    linear, and the encoder's own pooling (mean, first token or maximum) of its last layer: one
    reading serves all tasks.

    The encoder's layers are trained in place by `fit`; its embeddings stay as they are. Give it an
    encoder of its own.

    Reference: [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), section 4.1, with a head for
    each task as in [Liu et al., 2019](https://arxiv.org/abs/1901.11504).

    Args:
        encoder: a `TextEncoder`; checkpoint, pooling and tokenizer are used.
        tasks: ranking tasks, such as `Binary("recommended")`; no `NextItem`.
        text_column: which of the examples' texts is read.
        max_length: tokens of a text, special ones included; longer texts are cut.
        dropout: dropped share of the pooled output while training.
        batch_size: texts read at a time when asked; texts of like length share a batch.
        seed: int or None; fixes the heads' initial weights.

    Raises:
        InputError: `max_length` is more than the checkpoint has positions for.
        ValueError: the encoder is of no BERT family, there is no task or two share a name, or an
            argument is out of its range.

    Example:
    >>> encoder = TextEncoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> teacher = BertTextRanker(encoder, [Binary("recommended")])  # doctest: +SKIP
    >>> teacher.fit(splits.train)  # doctest: +SKIP
    >>> teacher.answers(splits.test)["recommended"].shape  # doctest: +SKIP
    (2349, 1)
    >>> taught = splits.train.with_teacher(teacher.answers(splits.train))  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: TextEncoder,
        tasks: Sequence[RankingTask],
        *,
        text_column: str = "text",
        max_length: int = 96,
        dropout: float = 0.1,
        batch_size: int = 128,
        seed: int | None = None,
    ) -> None:
        self.tasks = {task.name: task for task in tasks}
        _check_tasks(tasks)
        check_whole_number("batch_size", batch_size)
        _check_length(encoder, max_length)
        self.encoder, self.text_column = encoder, text_column
        self.max_length, self.batch_size = max_length, batch_size
        self.stack = LayerStack(encoder.model)
        self.base = base_fingerprint(encoder)
        self.heads = TaskHeads(tasks, dropout, seed)
        self.heads(tf.zeros([1, encoder.hidden_dim]))
        shape = tf.TensorSpec([None, None], tf.int32)
        self._ask = tf.function(self._asked, input_signature=[shape, shape])

    @property
    def weights(self) -> dict[str, tf.Variable]:
        """What `fit` may change: the layers' and the heads' weights, by name."""
        layers = {
            f"layers/{number}/{place}": variable
            for number, variables in enumerate(self.stack.layer_variables())
            for place, variable in enumerate(variables)
        }
        return layers | {
            f"heads/{name}/{place}": variable
            for name, head in self.heads.of_task.items()
            for place, variable in enumerate(head.weights)
        }

    def tokens(self, examples: RankingExamples) -> TokenWindows:
        """The token ids of every row's text, made once.

        Raises:
            InputError: the examples have no such texts.
        """
        if self.text_column not in examples.texts:
            raise InputError(
                f"The examples have no texts called {self.text_column!r}. They have: "
                f"{', '.join(sorted(examples.texts)) or 'none'}. Name one as `text_column`."
            )
        texts = examples.texts[self.text_column]
        return token_windows(
            self.encoder.tokenizer, texts, max_length=self.max_length, long_texts="cut"
        )

    def padded(self, tokens: TokenWindows, rows: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Token ids and attention mask of some rows, int32 [n, length], length a multiple of 8."""
        longest = int(tokens.lengths[rows].max(initial=1))
        length = min(-(-longest // LENGTH_STEP) * LENGTH_STEP, self.max_length)
        pad_id = self.encoder.tokenizer.pad_token_id
        input_ids, mask = tokens.padded(rows, pad_id=pad_id, length=length)
        return tf.constant(input_ids), tf.constant(mask)

    def read(
        self, input_ids: tf.Tensor, attention_mask: tf.Tensor, training: bool
    ) -> dict[str, tf.Tensor]:
        """Logits of tokenized texts in one forward pass, float32 [n, width] by task.

        Args:
            input_ids: int32 [n, length].
            attention_mask: int32 [n, length], 1 for a token and 0 for padding.
            training: whether dropout is on.
        """
        hidden = self.encoder.model(
            input_ids=input_ids, attention_mask=attention_mask, training=training
        ).last_hidden_state
        pooled = pool(hidden, attention_mask, self.encoder.pooling)
        return self.heads(pooled, training=training)

    def answers(
        self, examples: RankingExamples, *, advance: Callable[[int], Any] | None = None
    ) -> dict[str, np.ndarray]:
        """Logits for every row, float32 [num_rows, width] by task.

        Args:
            examples: whose texts are read.
            advance: called with the number of rows done since the last call.

        Raises:
            InputError: the examples have no such texts.
        """
        tokens = self.tokens(examples)
        said = {
            name: np.zeros((len(examples), task.width), np.float32)
            for name, task in self.tasks.items()
        }
        order = np.argsort(-tokens.lengths, kind="stable")  # too long for memory shows at once
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            for name, logits in self._ask(*self.padded(tokens, rows)).items():
                said[name][rows] = logits.numpy()
            if advance is not None:
                advance(len(rows))
        return said

    def predictions(self, examples: RankingExamples) -> dict[str, np.ndarray]:
        """What each task predicts for every row, float32 [num_rows] by task: see the tasks."""
        return {
            name: np.asarray(self.tasks[name].predict(tf.constant(logits)), np.float32)
            for name, logits in self.answers(examples).items()
        }

    def fit(
        self,
        examples: RankingExamples,
        *,
        num_epochs: int = 1,
        batch_size: int = 32,
        learning_rate: float = 5e-5,
        head_learning_rate: float = 1e-3,
        warmup_share: float = 0.1,
        clip_norm: float | None = 1.0,
        num_layers: int | None = None,
        seed: int = 0,
        checkpoint_folder: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
        advance: Callable[[int], Any] | None = None,
    ) -> list[float]:
        """Train on labelled rows, all tasks at once.

        A step minimises `sum_t mean over the rows labelled for t of loss_t`, the mean weighted by
        the examples' weights; a row without a label for a task does not count for that task. The
        rows are shuffled every epoch, and texts of like length share a batch. Adam takes the steps,
        its learning rates rising and falling in straight lines.

        Args:
            examples: rows with texts and labels.
            num_epochs: how often every row is read.
            batch_size: rows a step.
            learning_rate: the layers' at its peak.
            head_learning_rate: the heads' at its peak.
            warmup_share: share of the steps in which the learning rates rise.
            clip_norm: all gradients together are scaled down to this length where they are longer;
                None leaves them as they are.
            num_layers: layers trained, from the top; None trains all.
            seed: of the order of rows and of dropout.
            checkpoint_folder: where the training's state is kept; a call with the same arguments
                and a freshly made ranker of the same `seed` goes on from there and ends as if it
                had never stopped. None keeps none.
            checkpoint_every: steps between two checkpoints.
            advance: called with the number of steps done since the last call.

        Returns:
            The loss of each step.

        Raises:
            ValueError: an argument is out of its range.
            InputError: texts or labels are missing, a label is out of its task's range, or
                `checkpoint_folder` holds another training's state.
        """
        settings = {
            "num_epochs": num_epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "head_learning_rate": head_learning_rate,
            "warmup_share": warmup_share,
            "clip_norm": clip_norm,
            "num_layers": num_layers,
            "seed": seed,
        }
        return train_text_ranker(
            self, examples, settings, checkpoint_folder, checkpoint_every, advance
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write configuration and trained weights; the base checkpoint is not among them."""
        weights = {name: variable.numpy() for name, variable in self.weights.items()}
        write_tuned_bert(folder, KIND, self.base, self._arguments(), weights)

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], encoder: TextEncoder, *, batch_size: int = 128
    ) -> BertTextRanker:
        """A saved text ranker.

        Args:
            folder: what `save` wrote.
            encoder: a freshly loaded encoder of the checkpoint it was trained from.
            batch_size: texts read at a time.

        Raises:
            InputError: the folder cannot be read, or was trained from another checkpoint.
        """
        arguments, weights = read_tuned_bert(folder, KIND, encoder)
        tasks = [tf.keras.utils.deserialize_keras_object(task) for task in arguments.pop("tasks")]
        loaded = cls(encoder, tasks, batch_size=batch_size, **arguments)
        for name, variable in loaded.weights.items():
            variable.assign(weights[name])
        return loaded

    def fingerprint(self) -> str:
        """sha256 of the base checkpoint, the configuration and the weights."""
        said = f"{self.base} {json.dumps(self._arguments(), sort_keys=True)}"
        digest = hashlib.sha256(said.encode())
        for name, variable in self.weights.items():
            digest.update(f"{name} {variable.shape}".encode() + variable.numpy().tobytes())
        return digest.hexdigest()

    def _arguments(self) -> dict[str, Any]:
        return {
            "tasks": [tf.keras.utils.serialize_keras_object(t) for t in self.tasks.values()],
            "text_column": self.text_column,
            "max_length": self.max_length,
            "dropout": self.heads.dropout.rate,
        }

    def _asked(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.read(input_ids, attention_mask, False)


def _check_tasks(tasks: Sequence[RankingTask]) -> None:
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"`tasks` must be at least one task, each with a name of its own. Received: {names}."
        )
    next_item = [task.name for task in tasks if isinstance(task, NextItem)]
    if next_item:
        raise ValueError(
            f"A text ranker reads one text a row and knows no catalogue: it cannot answer "
            f"{next_item[0]!r}, a `NextItem` task. Leave it out."
        )


def _check_length(encoder: TextEncoder, max_length: int) -> None:
    special = encoder.tokenizer.num_special_tokens_to_add()
    if not max_length > special:
        raise ValueError(
            f"`max_length` must be greater than {special}, the special tokens around a text. "
            f"Received: max_length={max_length!r}."
        )
    positions = max_positions(encoder.model)
    if positions is not None and max_length > positions:
        raise InputError(
            f"`max_length` must be at most {positions}, the positions of the checkpoint. "
            f"Received: max_length={max_length!r}."
        )
