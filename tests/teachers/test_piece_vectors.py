"""Vectors of word pieces, by NumPy and planted directions."""

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.serving.word_pieces import WordPieces
from tfrs_distill.teachers import piece_vectors

NAMES = ("robot", "space", "##ship", "love", "wedding", "the")
PIECES = WordPieces(NAMES, max_pieces=4)
TEXTS = ["robot space", "spaceship", "love wedding", "the love", "the robot", "unheard"]


class Planted:
    """An encoder whose vector of a text is determined by its first letters, in any case."""

    def __init__(self, width=5):
        self.width, self.requested = width, []

    def encode(self, texts):
        self.requested = list(texts)
        return np.stack(
            [
                np.random.default_rng([ord(c) for c in text]).normal(size=self.width)
                for text in texts
            ]
        )


def test_pieces_are_encoded_separately_and_projected_on_principal_directions():
    encoder = Planted()
    found = piece_vectors(encoder, PIECES, TEXTS, dim=2)
    assert encoder.requested == ["robot", "space", "ship", "love", "wedding", "the"]
    x = encoder.encode(encoder.requested)
    averages = np.stack([x[[0, 1]], x[[1, 2]], x[[3, 4]], x[[5, 3]], x[[5, 0]]]).mean(axis=1)
    centred = averages - averages.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    directions = vectors[:, ::-1][:, :2]
    expected = (x - averages.mean(axis=0)) @ directions
    expected *= 0.3 / (centred @ directions).std()
    assert found.shape == (8, 2) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:2], 0)  # padding and unknown words
    signs = np.sign((found[2:] * expected).sum(axis=0))
    np.testing.assert_allclose(found[2:], signs * expected, atol=1e-5)


def test_an_average_of_a_text_has_the_spread_of_initial_weights():
    found = piece_vectors(Planted(), PIECES, TEXTS[:5], dim=3)
    rows = [row[row > 0] for row in PIECES.encode(TEXTS[:5])]
    averages = np.stack([found[row].mean(axis=0) for row in rows])
    np.testing.assert_allclose(averages.std(), 0.3, rtol=1e-5)


@pytest.mark.parametrize(("texts", "dim"), [(TEXTS, 6), (TEXTS[:2], 3), (["unheard"], 1)])
def test_more_directions_than_exist_are_refused(texts, dim):
    with pytest.raises(InputError, match=rf"Received: dim={dim}"):
        piece_vectors(Planted(), PIECES, texts, dim)
