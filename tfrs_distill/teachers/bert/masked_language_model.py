"""Domain pre-training: masked-language training of a BERT on the catalogue's texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.linear_warmup_decay import LinearWarmupDecay
from tfrs_distill.teachers.bert.masked_language_head import MaskedLanguageHead
from tfrs_distill.teachers.bert.parameter_efficient.attached import check_bare
from tfrs_distill.teachers.bert.parameter_efficient.layer_stack import LayerStack
from tfrs_distill.teachers.bert.pseudo_perplexity import pseudo_perplexity
from tfrs_distill.teachers.bert.resumable_training import step_dropout
from tfrs_distill.teachers.bert.text_encoder import TextEncoder
from tfrs_distill.teachers.bert.token_windows import TokenWindows
from tfrs_distill.teachers.whole_number import check_whole_number

HEAD_LEARNING_RATE = 1e-3  # of a new head alone: a small network, trained from scratch


@dataclass(frozen=True)
class MaskedLanguageTraining:
    """The result of `pretrain_masked_language_model`.

    Args:
        losses: cross-entropy of the masked tokens in each step of the whole model.
        head_losses: the same while only a new head is trained; empty if the checkpoint has a head.
        pseudo_perplexity_before: pseudo-perplexity on the held-out texts with the given encoder; if
            the head is new, after its own training.
        pseudo_perplexity_after: the same, on the same tokens, with the trained encoder.
        num_texts: number of different texts used in training.
        num_held_out: number of different held-out texts.
        head_was_fresh: whether the checkpoint has no head.
    """

    losses: list[float]
    head_losses: list[float]
    pseudo_perplexity_before: float
    pseudo_perplexity_after: float
    num_texts: int
    num_held_out: int
    head_was_fresh: bool


def pretrain_masked_language_model(
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    num_steps: int,
    batch_size: int = 32,
    mask_share: float = 0.15,
    learning_rate: float = 5e-5,
    warmup_share: float = 0.1,
    held_out_share: float = 0.05,
    max_scored_tokens: int = 4096,
    seed: int = 0,
    advance: Callable[[int], Any] | None = None,
) -> MaskedLanguageTraining:
    """Train the whole encoder to predict masked words of these texts; it is changed in place.

    In every text `mask_share` of the tokens, excluding special tokens, must be predicted: 80 % of
    them are replaced by the mask, 10 % by any token of the vocabulary, 10 % are unchanged. The loss
    is the mean cross-entropy over them. The encoder's dropout is on; Adam's learning rate has
    linear warm-up and linear decay. Reference:
    [Devlin et al., 2018](https://arxiv.org/abs/1810.04805); continued in the domain:
    [Gururangan et al., 2020](https://arxiv.org/abs/2004.10964).

    A checkpoint without a masked-language head (all-MiniLM-L6-v2) gets a new head, whose initial
    predictions do not depend on the encoder. So the new head is first trained alone for `num_steps`
    steps with a frozen encoder, and only then the perplexity "before" is measured: that of the
    given encoder with a head that has had as many steps as the whole model will have. Afterwards
    the head is trained together with the encoder, so a part of the gain is still the head's: if
    `head_losses` has not flattened, `num_steps` is too small to separate the two.

    Args:
        encoder: the text encoder.
        texts: texts of the catalogue, and others of the domain, such as reviews. Duplicates are
            removed, so no held-out text is used in training.
        num_steps: number of steps of the whole model.
        batch_size: texts, or windows of long texts, per step.
        mask_share: share of tokens to predict.
        learning_rate: Adam's peak learning rate, for the whole model.
        warmup_share: share of the steps that are warm-up.
        held_out_share: share of the different texts that are held out, at least one text.
        max_scored_tokens: the perplexity is over at most this many of their tokens, drawn
            uniformly.
        seed: seed of the held-out texts, the order, masks, dropout and a new head.
        advance: called with 1 after every step of the whole model.

    Raises:
        ValueError: a number is out of its range, or the encoder has added layers.
        InputError: there are fewer than two different texts, texts have no words, or the tokenizer
            has no mask token.
    """
    _check(batch_size, mask_share, held_out_share, max_scored_tokens)
    schedule = LinearWarmupDecay(learning_rate, num_steps=num_steps, warmup_share=warmup_share)
    check_bare(encoder, "be pre-trained")
    training_texts, held_out = _held_out(encoder, texts, held_out_share, seed)
    tokens = encoder.token_windows(training_texts)
    head = MaskedLanguageHead(encoder, tokens.ids, seed=seed)
    training = _Training(encoder, head, tokens, batch_size, mask_share, seed)

    def measured() -> float:
        return pseudo_perplexity(encoder, head, held_out, max_tokens=max_scored_tokens, seed=seed)

    head_losses: list[float] = []
    if head.is_fresh:
        alone = LinearWarmupDecay(
            HEAD_LEARNING_RATE, num_steps=num_steps, warmup_share=warmup_share
        )
        head_losses = list(training.steps(alone, head.head_variables, dropout=False))
    before = measured()
    losses = []
    stack = LayerStack(encoder.model)
    encoder_variables = [v for part in stack.layer_variables() for v in part]
    whole = [*stack.other_variables(), *encoder_variables, *head.head_variables]
    for loss in training.steps(schedule, whole, dropout=True):
        losses.append(loss)
        if advance is not None:
            advance(1)
    return MaskedLanguageTraining(
        losses=losses,
        head_losses=head_losses,
        pseudo_perplexity_before=before,
        pseudo_perplexity_after=measured(),
        num_texts=len(training_texts),
        num_held_out=len(held_out),
        head_was_fresh=head.is_fresh,
    )


class _Training:
    """Steps of masked-language training over token windows."""

    def __init__(
        self,
        encoder: TextEncoder,
        head: MaskedLanguageHead,
        tokens: TokenWindows,
        batch_size: int,
        mask_share: float,
        seed: int,
    ) -> None:
        self.encoder, self.head, self.tokens = encoder, head, tokens
        self.batch_size, self.mask_share, self.seed = batch_size, mask_share, seed
        self.num_done = tf.Variable(0, dtype=tf.int64, trainable=False)

    def steps(
        self, schedule: LinearWarmupDecay, variables: list[tf.Variable], *, dropout: bool
    ) -> Iterator[float]:
        """Train some variables; yield each step's loss."""
        optimizer = tf.keras.optimizers.Adam(schedule)
        optimizer.build(variables)
        shape, row = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
        places = tf.TensorSpec([None, 2], tf.int64)

        @tf.function(input_signature=[shape, shape, places, row])
        def step(
            input_ids: tf.Tensor, mask: tf.Tensor, guessed: tf.Tensor, targets: tf.Tensor
        ) -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                outputs = self.encoder.model(
                    input_ids=input_ids, attention_mask=mask, training=dropout
                )
                hidden = tf.gather_nd(outputs.last_hidden_state, guessed)
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        targets, self.head.logits(hidden)
                    )
                )
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
            return loss

        tokenizer = self.encoder.tokenizer
        with step_dropout(self.encoder.model, self.seed, self.num_done):
            for _, windows in zip(range(schedule.num_steps), self._batches()):
                input_ids, mask = self.tokens.padded(windows)
                maskable = (mask == 1) & ~np.isin(input_ids, tokenizer.all_special_ids)
                masked, guessed = mask_tokens(
                    input_ids,
                    maskable,
                    mask_share=self.mask_share,
                    mask_id=tokenizer.mask_token_id,
                    vocabulary_size=self.head.words.shape[0],
                    generator=np.random.default_rng([self.seed, 1, int(self.num_done)]),
                )
                arguments = (masked, mask, np.argwhere(guessed), input_ids[guessed])
                yield float(step(*map(tf.constant, arguments)))
                self.num_done.assign_add(1)

    def _batches(self) -> Iterator[np.ndarray]:
        """Yield windows with words, `batch_size` at a time, each window once per epoch."""
        special = np.isin(self.tokens.ids, self.encoder.tokenizer.all_special_ids)
        with_words = np.flatnonzero(np.add.reduceat(~special, self.tokens.starts))
        generator = np.random.default_rng([self.seed, 2, int(self.num_done)])
        waiting = np.zeros(0, np.int64)
        while True:
            while len(waiting) < self.batch_size:
                waiting = np.concatenate([waiting, generator.permutation(with_words)])
            yield waiting[: self.batch_size]
            waiting = waiting[self.batch_size :]


def mask_tokens(
    input_ids: np.ndarray,
    maskable: np.ndarray,
    *,
    mask_share: float,
    mask_id: int,
    vocabulary_size: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Select tokens to predict among the maskable, each with probability `mask_share`; mask most.

    80 % of the selected tokens become the mask, 10 % any token of the vocabulary, 10 % are
    unchanged. If none is drawn, one is selected.

    Returns:
        The token ids that the model reads, and which of them it must predict (bool), both with the
        shape of `input_ids`, [num_texts, length].
    """
    guessed = maskable & (generator.random(input_ids.shape) < mask_share)
    if not guessed.any():
        row, column = generator.choice(np.argwhere(maskable))
        guessed[row, column] = True
    fate = generator.random(input_ids.shape)
    drawn = generator.integers(vocabulary_size, size=input_ids.shape)
    hidden = np.where(fate < 0.8, mask_id, np.where(fate < 0.9, drawn, input_ids))
    return np.where(guessed, hidden, input_ids).astype(np.int32), guessed


def _check(
    batch_size: int, mask_share: float, held_out_share: float, max_scored_tokens: int
) -> None:
    for name, number in (("batch_size", batch_size), ("max_scored_tokens", max_scored_tokens)):
        check_whole_number(name, number)
    for name, share in (("mask_share", mask_share), ("held_out_share", held_out_share)):
        if not 0 < share < 1:
            raise ValueError(f"`{name}` must be above 0 and below 1. Received: {name}={share!r}.")


def _held_out(
    encoder: TextEncoder, texts: Sequence[str], share: float, seed: int
) -> tuple[list[str], list[str]]:
    """Return the different texts for training, and the held-out texts."""
    if encoder.tokenizer.mask_token_id is None:
        raise InputError(
            f"The tokenizer in {encoder.folder} has no mask token, so its model cannot learn to "
            "predict masked words. Give a BERT-family checkpoint, or do not pre-train."
        )
    different = list(dict.fromkeys(texts))
    if len(different) < 2:
        raise InputError(
            "Pre-training needs at least two different texts, one of them to be held out. "
            f"Received: {len(different)}."
        )
    order = np.random.default_rng([seed, 0]).permutation(len(different))
    num_held_out = min(max(round(share * len(different)), 1), len(different) - 1)
    chosen = {int(row) for row in order[:num_held_out]}
    training = [text for row, text in enumerate(different) if row not in chosen]
    return training, [text for row, text in enumerate(different) if row in chosen]
