"""A history encoder with fewer hidden units, fewer heads and matrices of low rank."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.methods import DENSE_RANK
from tfrs_distill.compress.structures.low_rank import LowRank, rank_of
from tfrs_distill.compress.units import feed_forwards
from tfrs_distill.errors import InputError
from tfrs_distill.models.encoders.recency_attention import RecencyAttention, entries_of

SMALLEST = 1024  # numbers of a matrix that TensorFlow's converter makes 8-bit integers of


class SmallerEncoder:
    """The configuration and the weights of what is left of an encoder, which stays as it is.

    Args:
        encoder: a trained history encoder.
    """

    def __init__(self, encoder: tf.keras.layers.Layer) -> None:
        self.encoder, self.config = encoder, encoder.get_config()
        self._values = {id(weight): [weight.numpy()] for weight in encoder.weights}

    @property
    def weights(self) -> list[np.ndarray]:
        """What `set_weights` of an encoder of the configuration takes."""
        return [values for of_one in self._values.values() for values in of_one]

    def keep_units(self, kept: np.ndarray) -> None:
        """Leave some hidden units: int [num_blocks, number]."""
        self.config["hidden_units"] = kept.shape[1]
        for layers, units in zip(feed_forwards(self.encoder), kept):
            self._take(layers.hidden.kernel, units, 1)
            self._take(layers.hidden.bias, units, 0)
            self._take(layers.hidden_reader.kernel, units, 0)

    def keep_heads(self, kept: np.ndarray) -> None:
        """Leave some heads of a `RecencyAttention`, by their places: int [num_blocks, number]."""
        encoder: RecencyAttention = self.encoder
        self.config["kept_heads"] = np.take_along_axis(
            np.array(encoder.kept_heads), kept, axis=1
        ).tolist()
        biases = encoder.distance_bias.numpy()
        self._values[id(encoder.distance_bias)] = [
            np.take_along_axis(biases, kept[:, :, None], axis=1)
        ]
        for index, (_, query_key, value, project, _) in enumerate(encoder.blocks):
            entries = entries_of(kept[index], encoder.embedding_dim // encoder.num_heads)
            both = np.concatenate([entries, value.units + entries])
            self._take(query_key.kernel, both, 1)
            self._take(query_key.bias, both, 0)
            self._take(value.kernel, entries, 1)
            self._take(value.bias, entries, 0)
            if index == 0:  # later ones read what was before too
                self._take(project.kernel, entries, 0)

    def factorize(self, rank: int, energy: float, bits: int) -> None:
        """Make two narrow matrices of each matrix of the feed-forward networks.

        They come from its singular value decomposition: no other product of that rank has a
        smaller squared error ([Eckart and Young, 1936](https://doi.org/10.1007/BF02288367)).

        Args:
            rank: of the products; 0 for the least that keeps the energy.
            energy: the share of every matrix's squares that is to be kept.
            bits: of the file's numbers.

        Raises:
            InputError: there is no matrix, they are factorized already, or they would not be
                smaller.
        """
        networks = feed_forwards(self.encoder)
        if not networks or networks[0].rank is not None:
            raise InputError(
                f"{DENSE_RANK!r} needs an encoder with whole matrices in a feed-forward network. "
                f"Received: a student whose encoder is {type(self.encoder).__name__}"
                f"{' with a rank' if networks else ''}. Leave {DENSE_RANK!r} out."
            )
        kernels = [layer.kernel for one in networks for layer in (one.hidden, one.out)]
        whole = [self._values[id(kernel)][0] for kernel in kernels]
        rank = rank or max(rank_of(kernel, np.ones(len(kernel)), energy) for kernel in whole)
        saving = [
            one
            for one in range(1, min(whole[0].shape) + 1)
            if all(_saves(kernel.shape, one, bits) for kernel in whole)
        ]
        if rank not in saving:
            rows, columns = whole[0].shape
            numbers = f"fewer than {SMALLEST:,} numbers stay in 32 bits"
            raise InputError(
                f"Two matrices of rank {rank} are not smaller than one of {rows} x {columns}"
                f"{f', as those of {numbers}' if bits < 16 else ''}. "
                + (
                    f"The largest rank that makes them smaller is {max(saving)}."
                    if saving
                    else f"Leave {DENSE_RANK!r} out."
                )
            )
        self.config["rank"] = rank
        for kernel, values in zip(kernels, whole):
            parts = LowRank(*values.shape, rank).fit(values, np.ones(len(values)))
            self._values[id(kernel)] = [parts["left"], parts["right"]]

    def _take(self, weight: tf.Variable, indices: np.ndarray, axis: int) -> None:
        (values,) = self._values[id(weight)]
        self._values[id(weight)] = [np.take(values, indices, axis=axis)]


def _saves(shape: tuple[int, int], rank: int, bits: int) -> bool:
    """Whether two matrices of a rank are smaller than one."""
    rows, columns = shape
    narrow = bytes_of_matrix(rows * rank, bits) + bytes_of_matrix(rank * columns, bits)
    return narrow < bytes_of_matrix(rows * columns, bits)


def bytes_of_matrix(numbers: int, bits: int) -> int:
    """The bytes of a matrix in a file: those of few numbers stay in 32 bits where others have 8.

    Example:
    >>> bytes_of_matrix(1024, 8), bytes_of_matrix(1023, 8)
    (1024, 4092)
    """
    return numbers * (bits // 8 if bits >= 16 else 1 if numbers >= SMALLEST else 4)
