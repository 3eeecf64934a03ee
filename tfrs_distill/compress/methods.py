"""Compression methods, as written in a recipe and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from tfrs_distill.compress.bits import AXES, PACKED, Scale
from tfrs_distill.compress.structures import STRUCTURES
from tfrs_distill.compress.structures.low_rank import LowRank
from tfrs_distill.errors import InputError

UNITS, HEADS, DENSE_RANK, IDS_ONLY = "units", "heads", "dense-rank", "ids-only"
BITS = {"float16": 16, "int8": 8, "int4": 4, "int2": 2}
MIN_WIDTH = 8  # of a table that has one scale per row by default


@dataclass(frozen=True)
class Methods:
    """A parsed list of methods.

    Args:
        units: hidden units kept in the feed-forward network of every block; 0 for all.
        keeps_texts: whether a text tower is kept.
        structure: the name of the table's structure.
        numbers: its sizes.
        energy: the share of the table's squares that a rank has to keep; 0 if the rank is given.
        bits: per number of the table, and, as far as LiteRT supports it, of the matrices.
        scale: whether a scale belongs to a row, a column or a table; None: in 4 and 2 bits the
            width decides, and in 8 bits TensorFlow's converter uses one scale for the table.
        heads: attention heads kept in every block; 0 for all.
        dense_rank: of the matrices of the feed-forward networks; 0 for no factorization.
        dense_energy: the share of every such matrix's squares that a rank has to keep; 0 if the
            rank is given.
    """

    units: int = 0
    keeps_texts: bool = True
    structure: str = "plain"
    numbers: tuple[int, ...] = ()
    energy: float = 0.0
    bits: int = 32
    scale: Scale | None = None
    heads: int = 0
    dense_rank: int = 0
    dense_energy: float = 0.0

    @classmethod
    def of(cls, methods: Sequence[str]) -> Methods:
        """Parse a list of methods, in the order in which they are applied.

        Raises:
            InputError: a method is unknown, has the wrong sizes, is repeated, or follows the
                quantization.

        Example:
        >>> Methods.of(["units:32", "low-rank:16", "int4"]).numbers
        (16,)
        """
        if isinstance(methods, str):
            raise InputError(f"`methods` must be a list, such as ['int4']. Received: {methods!r}.")
        read: dict[str, Any] = {}
        for method in methods:
            name, *rest = str(method).split(":")
            found = _read(method, name, rest)
            if "bits" in read:
                raise InputError(
                    f"{method!r} comes after the numbers were quantized. Put int8, int4 or int2 "
                    f"last. Received: {list(methods)}."
                )
            again = set(found) & set(read)
            if again:
                raise InputError(f"{method!r} repeats another method. Received: {list(methods)}.")
            read |= found
        return cls(**read)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Methods:
        """Create it from its fields as JSON values."""
        return cls(**(config | {"numbers": tuple(config["numbers"])}))

    @property
    def texts(self) -> list[str]:
        """The equivalent list of methods, in a fixed order.

        Example:
        >>> Methods.of(["low-rank:90%", "units:32", "int4:row"]).texts
        ['units:32', 'low-rank:90%', 'int4:row']
        """
        found = [f"{UNITS}:{self.units}"] if self.units else []
        found += [f"{HEADS}:{self.heads}"] if self.heads else []
        if self.dense_rank or self.dense_energy:
            found.append(f"{DENSE_RANK}:{self.dense_rank or f'{100.0 * self.dense_energy:.12g}%'}")
        found += [] if self.keeps_texts else [IDS_ONLY]
        if self.energy:
            found.append(f"{self.structure}:{100.0 * self.energy:.12g}%")
        elif self.structure != "plain":
            found.append(":".join([self.structure, *map(str, self.numbers)]))
        names = [name for name, bits in BITS.items() if bits == self.bits]
        return [*found, *(":".join(filter(None, (name, self.scale))) for name in names)]

    @property
    def packs(self) -> bool:
        """Whether numbers are packed codes with scales, and not in the converter's format."""
        return self.bits < 8 or (self.bits == 8 and self.scale is not None)

    def scale_of(self, width: int) -> Scale:
        """Return whether a part of this width has a scale per row, per column or per table."""
        return self.scale or ("row" if width >= MIN_WIDTH else "tensor")

    def shape_of_scales(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape of the scales of a packed part of this shape."""
        scale = self.scale_of(shape[1])
        return shape[0] if scale == "row" else 1, shape[1] if scale == "column" else 1


def _read(method: str, name: str, rest: list[str]) -> dict[str, Any]:
    """Parse one method."""
    if name in BITS:
        bits = BITS[name]
        if not rest:
            return {"bits": bits}
        if len(rest) == 1 and rest[0] in AXES and bits in PACKED:
            return {"bits": bits, "scale": cast(Scale, rest[0])}
        raise InputError(
            f"{name} takes no sizes; int8, int4 and int2 take the axis of the scales: "
            f"{', '.join(AXES)}. Received: {method!r}."
        )
    if name == IDS_ONLY and not rest:
        return {"keeps_texts": False}
    if name == UNITS:
        return {"units": _numbers(method, rest, ("number of hidden units",), ())[0]}
    if name == HEADS:
        return {"heads": _numbers(method, rest, ("number of attention heads",), ())[0]}
    is_share = len(rest) == 1 and rest[0].endswith("%")
    if name == DENSE_RANK:
        rank = 0 if is_share else _numbers(method, rest, ("rank",), ())[0]
        return {"dense_rank": rank, "dense_energy": _share(method, *rest) if is_share else 0.0}
    if name == LowRank.name and is_share:
        return {"structure": name, "energy": _share(method, *rest)}
    if name in STRUCTURES:
        structure = STRUCTURES[name]
        numbers = _numbers(method, rest, structure.sizes, structure.defaults)
        return {"structure": name, "numbers": numbers}
    raise InputError(
        f"There is no method {method!r}. There are {UNITS}:N, {HEADS}:N, {DENSE_RANK}:N, "
        f"{IDS_ONLY}, "
        + ", ".join(f"{known}{':N' * len(s.sizes)}" for known, s in STRUCTURES.items() if s.sizes)
        + f", {', '.join(BITS)}."
    )


def _numbers(
    method: str, rest: list[str], sizes: tuple[str, ...], defaults: tuple[int, ...]
) -> tuple[int, ...]:
    missing = len(sizes) - len(rest)
    known = all(text.isascii() and text.isdigit() and int(text) > 0 for text in rest)
    if not known or not 0 <= missing <= len(defaults):
        raise InputError(
            f"{method.split(':')[0]} takes, each after a colon, {', '.join(sizes) or 'nothing'}: "
            f"whole numbers above 0. Received: {method!r}."
        )
    return (*map(int, rest), *defaults[len(defaults) - missing :][:missing])


def _share(method: str, percent: str) -> float:
    """Parse a share in per cent."""
    try:
        share = float(percent.removesuffix("%")) / 100.0
    except ValueError:
        share = 0.0
    if not 0.0 < share < 1.0:
        raise InputError(
            "A rank is a number, or the share of the squares that it keeps, above 0 % and below "
            f"100 %, such as {method.split(':')[0]}:90%. Received: {method!r}."
        )
    return share
