"""A BERT's vectors of single word pieces: constants for a student's small text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tfrs_distill.errors import InputError
from tfrs_distill.serving.word_pieces import CONTINUED, FIRST_PIECE, WordPieces

SPREAD = 0.3  # standard deviation of an average's entries: suits the dropout and initial weights


class Encoder(Protocol):
    """Converts texts to vectors, such as a `TextEncoder`."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float [num_texts, text_dim]."""


def piece_vectors(
    encoder: Encoder, word_pieces: WordPieces, texts: Sequence[str], dim: int
) -> np.ndarray:
    """Encode every word piece alone, and keep the directions in which the texts differ most.

    `e(p) = s V^T (x(p) - m)`, with x(p) the encoder's vector of the piece as a text, m and V the
    mean and the first `dim` principal directions of the texts' averages of x, and s such that an
    entry of these averages has the standard deviation 0.3. So the vector of any text, also with new
    words, is an average of precomputed vectors; the encoder is not run.

    Reference: [Tulkens and van Dongen, 2024](https://github.com/MinishLab/model2vec) (model2vec),
    who use the principal directions of the vocabulary.

    Args:
        encoder: an encoder such as `TextEncoder`.
        word_pieces: the pieces that get a vector.
        texts: the texts that are available in training.
        dim: width of the vectors.

    Returns:
        Float32 [num_pieces + 1, dim], for `RetrievalStudent.from_history`; padding and unknown
        words are 0.

    Raises:
        InputError: the texts or the encoder's vectors have fewer directions than `dim`.
    """
    names = [piece.removeprefix(CONTINUED) for piece in word_pieces.pieces]
    vectors = np.asarray(encoder.encode(names), np.float64)
    known = [row[row >= FIRST_PIECE] - FIRST_PIECE for row in word_pieces.encode(texts)]
    averages = np.array([vectors[row].mean(axis=0) for row in known if len(row)])
    if min(averages.shape if averages.size else (0,)) < dim:
        raise InputError(
            f"`dim` must be at most the number of texts with a known word and the width of the "
            f"encoder's vectors. Received: dim={dim}, {len(averages)} such texts and vectors of "
            f"width {vectors.shape[1]}."
        )
    mean = averages.mean(axis=0)
    _, _, directions = np.linalg.svd(averages - mean, full_matrices=False)
    kept = directions[:dim].T
    scale = SPREAD / max(float(((averages - mean) @ kept).std()), 1e-12)
    of_pieces = scale * (vectors - mean) @ kept
    return np.pad(of_pieces, [(FIRST_PIECE, 0), (0, 0)]).astype(np.float32)
