"""A network with fewer hidden units, fewer heads and matrices of low rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_distill.compress.bits import SMALLEST, bytes_of_matrix
from tfrs_distill.compress.methods import DENSE_RANK
from tfrs_distill.compress.structures.low_rank import LowRank, rank_of
from tfrs_distill.compress.units import feed_forwards, hidden_layers
from tfrs_distill.errors import InputError
from tfrs_distill.models.encoders.recency_attention import RecencyAttention, entries_of
from tfrs_distill.models.ordered_weights import ordered_weights
from tfrs_distill.models.ranking_model import RankingModel


class SmallerNetwork:
    """The configuration and the weights of a pruned copy of a network, which is not changed.

    Args:
        network: a trained history encoder, or a ranking student without its tables.
        weights: the weights of the network to copy; all by default.
    """

    def __init__(
        self, network: tf.keras.layers.Layer, weights: Sequence[tf.Variable] | None = None
    ) -> None:
        self.network, self.config = network, network.get_config()
        weights = ordered_weights(network) if weights is None else weights
        self._values = {id(weight): [weight.numpy()] for weight in weights}

    @property
    def weights(self) -> list[np.ndarray]:
        """The remaining weights, in their order."""
        return [values for of_one in self._values.values() for values in of_one]

    def keep_units(self, kept: Sequence[np.ndarray]) -> None:
        """Keep some hidden units, by their indices in every block: int [number] each."""
        sizes = [len(units) for units in kept]
        is_ranking = isinstance(self.network, RankingModel)
        self.config["hidden_units"] = sizes if is_ranking else sizes[0]
        for hidden, units in zip(hidden_layers(self.network), kept):
            self._take(hidden.layer.kernel, units, 1)
            self._take(hidden.layer.bias, units, 0)
            for reader in hidden.readers:
                self._take(reader, units, 0)

    def keep_heads(self, given: Sequence[np.ndarray]) -> None:
        """Keep some heads of a `RecencyAttention`, by their indices in every block."""
        encoder: RecencyAttention = self.network
        kept = np.stack(given)
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
            if index == 0:  # later projections also read the earlier output
                self._take(project.kernel, entries, 0)

    def factorize(self, rank: int, energy: float, bits: int) -> None:
        """Replace each matrix by a product of two narrow ones, see `matrices_of`.

        They come from its singular value decomposition: no other product of that rank has a
        smaller squared error ([Eckart and Young, 1936](https://doi.org/10.1007/BF02288367)).

        Args:
            rank: of the products; 0 for the least that keeps the energy.
            energy: the share of every matrix's squares to keep.
            bits: per number in the file.

        Raises:
            InputError: there is no matrix, they are already factorized, or they would not be
                smaller.
        """
        argument, kernels = matrices_of(self.network)
        has_rank = self.config.get(argument) is not None
        if not kernels or has_rank:
            kind = type(self.network).__name__
            needed = "an encoder with whole matrices in a feed-forward network"
            received = f"a student whose encoder is {kind}"
            if isinstance(self.network, RankingModel):
                needed, received = "cross layers with whole matrices", f"a {kind}"
            received += " with a rank" * has_rank
            raise InputError(
                f"{DENSE_RANK!r} needs {needed}. Received: {received}. Leave {DENSE_RANK!r} out."
            )
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
        self.config[argument] = rank
        for kernel, values in zip(kernels, whole):
            parts = LowRank(*values.shape, rank).fit(values, np.ones(len(values)))
            self._values[id(kernel)] = [parts["left"], parts["right"]]

    def _take(self, weight: tf.Variable, indices: np.ndarray, axis: int) -> None:
        (values,) = self._values[id(weight)]
        self._values[id(weight)] = [np.take(values, indices, axis=axis)]


def matrices_of(network: tf.keras.layers.Layer) -> tuple[str, list[tf.Variable]]:
    """Return the matrices that can be factorized, and the network's argument for their rank.

    They are those of an encoder's feed-forward networks, or of a ranking student's cross layers.
    """
    if isinstance(network, RankingModel):
        # A cross layer's kernel is its only weight with two axes, if it has no rank.
        weights = [weight for cross in network.crosses for weight in cross.weights]
        return "projection_dim", [weight for weight in weights if len(weight.shape) == 2]
    networks = feed_forwards(network)
    return "rank", [layer.kernel for one in networks for layer in (one.hidden, one.out)]


def _saves(shape: tuple[int, int], rank: int, bits: int) -> bool:
    """Whether two matrices of a rank take fewer bytes than one."""
    rows, columns = shape
    narrow = bytes_of_matrix(rows * rank, bits) + bytes_of_matrix(rank * columns, bits)
    return narrow < bytes_of_matrix(rows * columns, bits)
