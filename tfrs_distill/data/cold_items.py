"""Splits that evaluate on cold-start items, where a text teacher can help."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tfrs_distill.data.checked_arrays import whole_numbers
from tfrs_distill.data.cuts import user_time_cuts
from tfrs_distill.data.interactions import Interactions, in_sequences
from tfrs_distill.data.splits import Queries, Splits, split_at, windows_of
from tfrs_distill.errors import InputError


@dataclass(frozen=True)
class ColdItems:
    """The items that occur in no training interaction.

    Args:
        described: int32 item indices whose texts may be used in training and distillation.
        undescribed: int32 item indices whose texts are only used in the test.
    """

    described: np.ndarray
    undescribed: np.ndarray

    def __post_init__(self) -> None:
        for name in ("described", "undescribed"):
            object.__setattr__(self, name, whole_numbers(name, getattr(self, name)))

    @property
    def all(self) -> np.ndarray:
        """All cold items, ascending."""
        return np.sort(np.concatenate([self.described, self.undescribed]))


def choose_cold_items(
    num_items: int, *, share: float = 0.25, undescribed_share: float = 0.5, seed: int = 0
) -> ColdItems:
    """Draw cold items uniformly from a catalogue.

    Args:
        num_items: number of items in the catalogue.
        share: share of the items that are cold.
        undescribed_share: share of the cold items whose texts are also held out.
        seed: seed of the random draw.

    Raises:
        InputError: a share is outside (0, 1), or a part would have no items.

    Example:
    >>> cold = choose_cold_items(40)
    >>> len(cold.described), len(cold.undescribed)
    (5, 5)
    """
    if not (0 < share < 1 and 0 < undescribed_share < 1):
        raise InputError(
            "`share` and `undescribed_share` must be above 0 and below 1. Received: "
            f"share={share!r}, undescribed_share={undescribed_share!r}."
        )
    num_cold = round(num_items * share)
    num_undescribed = round(num_cold * undescribed_share)
    if not 0 < num_undescribed < num_cold < num_items:
        raise InputError(
            f"{num_items} items are too few: {num_cold} would be cold, {num_undescribed} of them "
            "without text. Give more items or larger shares."
        )
    drawn = np.random.default_rng(seed).permutation(num_items).astype(np.int32)[:num_cold] + 1
    return ColdItems(np.sort(drawn[num_undescribed:]), np.sort(drawn[:num_undescribed]))


def split_cold_items(
    interactions: Interactions,
    cold: ColdItems,
    targets: np.ndarray,
    *,
    validation_targets: np.ndarray | None = None,
    max_history: int = 64,
    train_fraction: float = 0.8,
    validation_fraction: float = 0.1,
) -> Splits:
    """Split by time, remove cold items from training, and evaluate only on cold items.

    The parts are those of `split_by_time`. Cold items are removed from every training sequence and
    every history, and are never negatives in a training loss. The positives of a query are the
    targets in its part of the user's sequence, and only targets are ranked.

    Args:
        interactions: the data set.
        cold: the items to hold out.
        targets: item indices to evaluate on: `cold.all`, `cold.described` or `cold.undescribed`.
        validation_targets: targets of validation; None for `targets`.
        max_history: positions in a training window.
        train_fraction: share of each user's interactions in training.
        validation_fraction: share of each user's interactions in validation.

    Raises:
        InputError: there are no timestamps, a target is not cold, or no interactions remain to
            train or evaluate on.
    """
    targets = _cold_targets("targets", targets, cold)
    validated = targets
    if validation_targets is not None:
        validated = _cold_targets("validation_targets", validation_targets, cold)
    interactions.require_times("Give timestamps: each user's last interactions are the test data.")
    cuts = user_time_cuts(
        interactions, train_fraction=train_fraction, validation_fraction=validation_fraction
    )
    whole = split_at(interactions, cuts, max_history=max_history)
    sequences = interactions.sequences()
    known = [_without(sequence[:cut], cold.all) for sequence, (cut, _) in zip(sequences, cuts)]
    trainable = [user for user, sequence in enumerate(known) if len(sequence) >= 2]
    if not trainable:
        raise InputError("Without the cold items no user has 2 training interactions.")
    weights = None
    if interactions.weights is not None:
        of_users = in_sequences(interactions, interactions.weights)
        starts = [(sequences[user][: cuts[user, 0]], of_users[user]) for user in trainable]
        weights = [of[: len(items)][~np.isin(items, cold.all)] for items, of in starts]
    train = windows_of(
        [known[user] for user in trainable],
        np.array(trainable, np.int32),
        interactions.catalogue,
        max_history=max_history,
        weights=weights,
    )
    existing = ~np.isin(np.arange(1, interactions.catalogue.num_items + 1), cold.all)
    return replace(
        whole,
        train=replace(train, candidates=existing),
        validation=_about(whole.validation, cold.all, validated, "validation"),
        test=_about(whole.test, cold.all, targets, "test"),
    )


def _cold_targets(name: str, targets: np.ndarray, cold: ColdItems) -> np.ndarray:
    targets = np.unique(whole_numbers(name, targets))
    warm = sorted(set(targets.tolist()) - set(cold.all.tolist()))
    if warm or not len(targets):
        came = f"item {warm[0]}, which is not" if warm else "no item"
        raise InputError(f"`{name}` must be cold items. Received: {came}.")
    return targets


def _about(queries: Queries, cold: np.ndarray, targets: np.ndarray, name: str) -> Queries:
    """Return the queries that have a target as positive and another item in their history."""
    histories = [_without(history, cold) for history in queries.histories]
    positives = [items[np.isin(items, targets)] for items in queries.positives]
    rows = [row for row in range(len(queries)) if len(histories[row]) and len(positives[row])]
    if not rows:
        raise InputError(f"No {name} query has one of the {len(targets)} targets as a positive.")
    return Queries(
        queries.catalogue,
        queries.users[rows],
        tuple(histories[row] for row in rows),
        tuple(positives[row] for row in rows),
        candidates=targets,
    )


def _without(sequence: np.ndarray, items: np.ndarray) -> np.ndarray:
    return sequence[~np.isin(sequence, items)]
