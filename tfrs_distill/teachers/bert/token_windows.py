"""Texts as token ids, in one or more windows per text: tokenized once, padded per batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np

LongTexts = Literal["cut", "windows"]
TEXTS_AT_ONCE = 4096  # limits the tokenizer's memory; more texts are not faster


@dataclasses.dataclass(frozen=True)
class TokenWindows:
    """Concatenated windows of token ids, in the order of their texts.

    Attributes:
        ids: token ids, including special tokens, int32 [num_tokens].
        starts: start of each window in `ids`, int64 [num_windows].
        lengths: number of tokens of each window, int64 [num_windows].
        texts: index of each window's text, int64 [num_windows], in ascending order.
        max_length: maximum number of tokens of a window.
        pad_id: the token that pads shorter windows at the end.
    """

    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    texts: np.ndarray
    max_length: int
    pad_id: int

    def padded(self, windows: np.ndarray, *, multiple_of: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and attention mask of some windows, int32 [num_windows, length].

        `length` is the longest window's, rounded up to a multiple, at most `max_length`.
        """
        lengths = self.lengths[windows]
        length = -(-int(lengths.max(initial=0)) // multiple_of) * multiple_of
        positions = np.arange(min(length, self.max_length))
        seen = positions < lengths[:, None]
        padded = np.full(seen.shape, self.pad_id, np.int32)
        padded[seen] = self.ids[(self.starts[windows][:, None] + positions)[seen]]
        return padded, seen.astype(np.int32)


def check_long_texts(long_texts: str) -> None:
    """Raise a ValueError unless `long_texts` is "cut" or "windows"."""
    if long_texts not in get_args(LongTexts):
        raise ValueError(
            f"`long_texts` must be 'cut' or 'windows'. Received: long_texts={long_texts!r}."
        )


def token_windows(
    tokenizer: Any, texts: Sequence[str], *, max_length: int, long_texts: LongTexts
) -> TokenWindows:
    """Tokenize texts into windows of at most `max_length` tokens, including special tokens.

    Args:
        tokenizer: a transformers tokenizer; "windows" needs a fast one.
        texts: the texts to tokenize.
        max_length: maximum length of a window in wordpieces.
        long_texts: "cut" keeps only a longer text's first window; "windows" keeps all of the text,
            with each wordpiece in exactly one window.

    Raises:
        ValueError: `texts` is one string.
    """
    if isinstance(texts, str):
        raise ValueError(f"`texts` must be a sequence of strings. Received: texts={texts!r}.")
    settings: dict[str, Any] = {"return_attention_mask": False, "return_token_type_ids": False}
    if long_texts == "windows":
        settings |= {"return_overflowing_tokens": True, "stride": 0}
    ids, lengths, owners = [], [], []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        part = list(texts[first : first + TEXTS_AT_ONCE])
        tokens = tokenizer(part, truncation=True, max_length=max_length, **settings)
        of_windows = tokens["input_ids"]
        lengths.append(np.array([len(window) for window in of_windows], np.int64))
        ids.append(np.fromiter(chain.from_iterable(of_windows), np.int32, lengths[-1].sum()))
        owner = tokens.get("overflow_to_sample_mapping", range(len(part)))
        owners.append(first + np.array(owner, np.int64))
    all_lengths = np.concatenate([np.zeros(0, np.int64), *lengths])
    return TokenWindows(
        ids=np.concatenate([np.zeros(0, np.int32), *ids]),
        starts=np.cumsum(all_lengths) - all_lengths,
        lengths=all_lengths,
        texts=np.concatenate([np.zeros(0, np.int64), *owners]),
        max_length=max_length,
        pad_id=tokenizer.pad_token_id,
    )
