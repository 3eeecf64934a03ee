"""Initializers with separate seeds."""

import numpy as np

from tfrs_distill.models.seeded import seeded


def draw(initializer):
    return initializer([200]).numpy()


def test_same_seed_and_offset_give_the_same_numbers():
    np.testing.assert_array_equal(draw(seeded("uniform", 1, 2)), draw(seeded("uniform", 1, 2)))


def test_another_seed_or_offset_gives_others():
    numbers = [draw(seeded("uniform", *pair)) for pair in ((1, 2), (1, 3), (5, 2))]
    assert not np.array_equal(numbers[0], numbers[1])
    assert not np.array_equal(numbers[0], numbers[2])


def test_no_seed_is_random():
    assert not np.array_equal(
        draw(seeded("glorot_uniform", None, 2)), draw(seeded("glorot_uniform", None, 2))
    )


def test_the_named_initializer_is_kept():
    # Keras' "uniform" draws from -0.05 to 0.05.
    assert 0.04 < abs(draw(seeded("uniform", 0, 0))).max() <= 0.05
