"""Planted data: small data sets with known structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.checked_arrays import whole_numbers
from tfrs_distill.data.interactions import Interactions
from tfrs_distill.errors import InputError

THEMES = (
    ("Galaxy", "space", "rocket", "planet", "alien"),
    ("Saloon", "cowboy", "desert", "sheriff", "horse"),
    ("Wedding", "love", "kiss", "heart", "bride"),
    ("Castle", "king", "sword", "dragon", "knight"),
    ("Detective", "murder", "police", "clue", "crime"),
    ("Orchestra", "music", "piano", "dance", "song"),
    ("Battalion", "war", "soldier", "tank", "army"),
    ("Nursery", "child", "toy", "puppy", "family"),
)
WORDS_PER_TEXT = 3


@dataclass(frozen=True)
class PlantedInteractions(Interactions):
    """Interactions with their planted structure.

    Args:
        item_blocks: int32 [num_items + 1], the block of each item index; -1 for padding.
        item_successors: int32 [num_items + 1], the most likely next item after each item; 0 for
            padding.
        user_blocks: int32 [num_users], the preferred block of each user.
    """

    item_blocks: np.ndarray
    item_successors: np.ndarray
    user_blocks: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("item_blocks", "item_successors", "user_blocks"):
            object.__setattr__(self, name, whole_numbers(name, getattr(self, name)))


def synthetic(
    *,
    num_users: int = 200,
    num_items: int = 60,
    num_blocks: int = 4,
    interactions_per_user: int = 12,
    order: float = 0.8,
    noise: float = 0.05,
    seed: int = 0,
) -> PlantedInteractions:
    """Generate users who each prefer one block of items and walk through it in order.

    The items of a block form a ring. A user starts at a random item of the preferred block and
    interacts with each item at most once. The next item is, with probability `noise`, a random
    unseen item of the other blocks; else, with probability `order`, the next unseen item on the
    ring after the latest one; else a random unseen item of the block. Ratings are 4 or 5 inside the
    preferred block and 1 or 2 outside. An item's text has words of its block only, so it reveals
    the block of cold-start items. Item indices and rows are shuffled, so they carry no information.

    Args:
        num_users: number of users, spread evenly over the blocks.
        num_items: number of items, in `num_blocks` blocks of equal size (the first ones may have
            one more).
        num_blocks: 2 to 8.
        interactions_per_user: at most the number of items in the smallest block.
        order: probability that a step inside the block follows the ring.
        noise: probability that a step leaves the block.
        seed: seed of all random choices.

    Raises:
        InputError: sizes or probabilities are out of range.

    Example:
    >>> data = synthetic(num_users=8, num_items=20, num_blocks=2, interactions_per_user=10)
    >>> data.num_users, data.catalogue.num_items, len(data)
    (8, 20, 80)
    """
    _check(num_users, num_items, num_blocks, interactions_per_user, order, noise)
    random = np.random.default_rng(seed)
    rings = np.array_split(random.permutation(np.arange(1, num_items + 1)), num_blocks)
    item_blocks = np.full(num_items + 1, -1, np.int32)
    successors = np.zeros(num_items + 1, np.int32)
    titles, texts = [""] * num_items, [""] * num_items
    for block, ring in enumerate(rings):
        item_blocks[ring] = block
        successors[ring] = np.roll(ring, -1)
        theme, *words = THEMES[block]
        for place, item in enumerate(ring):
            titles[item - 1] = f"{theme} {place + 1}"
            chosen = random.choice(words, WORDS_PER_TEXT, replace=False)
            texts[item - 1] = f"{titles[item - 1]}. {', '.join(chosen)}"
    user_blocks = np.arange(num_users, dtype=np.int32) % num_blocks
    items = np.concatenate(
        [
            _walk(random, item_blocks, successors, block, interactions_per_user, order, noise)
            for block in user_blocks.tolist()
        ]
    )
    users = np.repeat(np.arange(num_users, dtype=np.int32), interactions_per_user)
    liked = item_blocks[items] == user_blocks[users]
    ratings = np.where(liked, 4, 1) + random.integers(0, 2, len(items))
    timestamps = 1_000_000_000 + 60 * np.arange(len(items), dtype=np.int64)
    rows = random.permutation(len(items))
    return PlantedInteractions(
        "synthetic",
        Catalogue(tuple(f"i{n}" for n in range(1, num_items + 1)), tuple(titles), tuple(texts)),
        tuple(f"u{n}" for n in range(1, num_users + 1)),
        users[rows],
        items[rows],
        ratings[rows].astype(np.float32),
        timestamps[rows],
        item_blocks,
        successors,
        user_blocks,
    )


def _walk(
    random: np.random.Generator,
    item_blocks: np.ndarray,
    successors: np.ndarray,
    block: int,
    length: int,
    order: float,
    noise: float,
) -> np.ndarray:
    """Return one user's items in order."""
    inside = item_blocks == block
    unseen = item_blocks >= 0
    latest = random.choice(np.flatnonzero(inside))  # the latest item inside the block
    walk = [latest]
    unseen[latest] = False
    while len(walk) < length:
        outside = np.flatnonzero(unseen & ~inside)
        if len(outside) and random.random() < noise:
            item = random.choice(outside)
        elif random.random() < order:
            item = successors[latest]
            while not unseen[item]:
                item = successors[item]
            latest = item
        else:
            item = latest = random.choice(np.flatnonzero(unseen & inside))
        walk.append(item)
        unseen[item] = False
    return np.array(walk, np.int32)


def _check(
    num_users: int,
    num_items: int,
    num_blocks: int,
    interactions_per_user: int,
    order: float,
    noise: float,
) -> None:
    if not 2 <= num_blocks <= len(THEMES):
        raise InputError(f"`num_blocks` must be 2 to {len(THEMES)}. Received: {num_blocks}.")
    if num_users < num_blocks:
        raise InputError(
            f"`num_users` must be at least `num_blocks` = {num_blocks}. Received: {num_users}."
        )
    if not 1 <= interactions_per_user <= num_items // num_blocks:
        raise InputError(
            "`interactions_per_user` must be 1 to the size of a block, which is "
            f"{num_items // num_blocks}. Received: {interactions_per_user}."
        )
    for name, value in (("order", order), ("noise", noise)):
        if not 0 <= value <= 1:
            raise InputError(f"`{name}` must be within 0 to 1. Received: {value!r}.")
