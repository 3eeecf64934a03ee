"""Word pieces as indices, as a student's text tower reads them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfrs_distill.columns import plain_texts
from tfrs_distill.errors import InputError

PADDING_PIECE, UNKNOWN_PIECE = "[PAD]", "[UNK]"
SPECIAL = (PADDING_PIECE, UNKNOWN_PIECE)  # of index 0 and 1
UNKNOWN, FIRST_PIECE = SPECIAL.index(UNKNOWN_PIECE), len(SPECIAL)
CONTINUED = "##"  # before a piece that does not begin a word
MARKER = re.compile(r"\[.+\]")  # never a piece of a text: [CLS], [unused7]


@dataclass(frozen=True)
class WordPieces:
    """A vocabulary of word pieces; index 0 is padding and 1 is an unknown word.

    A text is split as in BERT: at blanks and punctuation, in lower case and without accents unless
    `lowercase` is False; then every word is split from its beginning into the longest available
    pieces. Encoding a text requires the package `tokenizers`.

    Reference: [Wu et al., 2016](https://arxiv.org/abs/1609.08144), section 4.1.

    Args:
        pieces: piece `pieces[i]` has the index `i + 2`; a piece that continues a word begins with
            `##`.
        max_pieces: number of indices per text; later pieces are dropped.
        lowercase: whether texts are converted to lower case, without accents.

    Raises:
        InputError: there is no piece, one occurs twice or is empty, or `max_pieces` is below 1.

    Example:
    >>> pieces = WordPieces(("heat", "toy", "##s", "("), max_pieces=4)
    >>> pieces.encode(["Toys (1995)", "Heat"]).tolist()
    [[3, 4, 5, 1], [2, 0, 0, 0]]
    """

    pieces: tuple[str, ...]
    max_pieces: int = 32
    lowercase: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", plain_texts("pieces", self.pieces))
        if not self.pieces:
            raise InputError("A vocabulary needs at least one word piece. Received: none.")
        if self.max_pieces < 1:
            raise InputError(f"`max_pieces` must be at least 1. Received: {self.max_pieces}.")
        for piece, count in Counter([*SPECIAL, *self.pieces]).items():
            if count > 1:
                raise InputError(f"Word pieces must be unique. Received: {piece!r} {count} times.")
            if not piece.strip():
                raise InputError(f"A word piece must not be empty. Received: {piece!r}.")

    @classmethod
    def for_texts(
        cls,
        vocabulary: Iterable[str],
        texts: Sequence[str],
        *,
        min_count: int = 2,
        num_first: int = 0,
        max_pieces: int = 32,
        lowercase: bool = True,
    ) -> WordPieces:
        """Reduce a large vocabulary, such as a BERT's, to the common pieces of these texts.

        Pieces that are in a single text cannot be learned; words that need them become unknown, so
        that the student learns an embedding for unknown words. If pieces already have vectors, use
        `min_count=1`, and `num_first` for the words of future texts.

        Args:
            vocabulary: the pieces; those of a BERT are sorted by frequency.
            texts: the texts available in training.
            min_count: minimum number of texts with a piece.
            num_first: number of first pieces of the vocabulary that are also kept.
            max_pieces: as for the class.
            lowercase: as for the class.

        Raises:
            InputError: no piece is in enough texts, or as for the class.
        """
        names = tuple(dict.fromkeys(piece for piece in vocabulary if not MARKER.fullmatch(piece)))
        whole = cls(names, max_pieces, lowercase)
        counts = np.zeros(whole.num_pieces + 1, np.int64)
        for row in whole.encode(texts):
            counts[np.unique(row)] += 1
        is_kept = counts[FIRST_PIECE:] >= min_count
        is_kept[:num_first] = True
        kept = tuple(name for name, keep in zip(names, is_kept) if keep)
        if not kept:
            raise InputError(
                f"No word piece is in {min_count} of the {len(texts)} texts, so there is nothing "
                "to learn from them. Give more texts, or a smaller `min_count`."
            )
        return cls(kept, max_pieces, lowercase)

    @property
    def num_pieces(self) -> int:
        """The largest index."""
        return len(self.pieces) + len(SPECIAL) - 1

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
        except ImportError as error:
            raise InputError(
                "Reading a text needs `tokenizers`, which is not installed. Install it with: "
                "pip install tokenizers"
            ) from error
        index_of = {piece: index for index, piece in enumerate([*SPECIAL, *self.pieces])}
        tokenizer = Tokenizer(models.WordPiece(index_of, unk_token=UNKNOWN_PIECE))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=self.lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return tokenizer

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return int32 [num_texts, max_pieces]: each text's first pieces, then 0."""
        texts = plain_texts("texts", texts)
        encoded = np.zeros((len(texts), self.max_pieces), np.int32)
        for row, encoding in enumerate(self._tokenizer.encode_batch(list(texts))):
            indices = encoding.ids[: self.max_pieces]
            encoded[row, : len(indices)] = indices
        return encoded
