"""The best student that fits into so many bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tfrs_distill import __version__
from tfrs_distill.compress.compress import (
    check_student,
    compress,
    parts_left,
    quantization_of,
)
from tfrs_distill.compress.fine_tune import FineTune, fine_tune_unless_worse
from tfrs_distill.compress.methods import HEADS, IDS_ONLY, UNITS, Methods
from tfrs_distill.compress.structures.product import num_codes
from tfrs_distill.compress.units import ATTENTION_HEADS, HIDDEN_UNITS
from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation.latency import percentiles
from tfrs_distill.evaluation.retrieval import evaluate
from tfrs_distill.export import to_tflite
from tfrs_distill.files import locked, whole_folder, write_json
from tfrs_distill.models.two_tower import TwoTower
from tfrs_distill.progress import Progress, SilentProgress
from tfrs_distill.serving import Recommender
from tfrs_distill.serving.artefact import TFLITE

POINTS, POINT_FILE = "points", "point.json"
NUM_TIMED = 200  # histories of the latency
UNCOMPRESSED: tuple[str, ...] = ()


@dataclass(frozen=True)
class Point:
    """A compressed student, exported and measured.

    Args:
        methods: what was done to the student; none for the student in float32.
        tuned: whether it was trained on after.
        bytes: of its `.tflite` file.
        score: NDCG@k of the file on the queries.
        untuned: the same of the file before it was trained on.
        latency_ms: `p50` and `p95` of one query in LiteRT, on one thread.
        folder: of its artefact.
        best: whether no other point has at most its bytes and a better score.
    """

    methods: tuple[str, ...]
    tuned: bool
    bytes: int
    score: float
    untuned: float
    latency_ms: dict[str, float]
    folder: str
    best: bool = False


@dataclass(frozen=True)
class SearchResult:
    """What a search found: all points, smallest first, and which is the best that fits.

    Args:
        points: every student that was measured.
        chosen: the best that fits.
        uncompressed: the student in float32.
    """

    points: tuple[Point, ...]
    chosen: Point
    uncompressed: Point

    @property
    def drop(self) -> float:
        """The share of the uncompressed student's NDCG that the best one lost."""
        return 1.0 - self.chosen.score / self.uncompressed.score


def to_budget(
    student: TwoTower,
    queries: Queries,
    directory: str | os.PathLike[str],
    *,
    max_bytes: int,
    max_drop: float = 0.02,
    fine_tune: FineTune | None = None,
    candidates: Sequence[Sequence[str]] | None = None,
    num_tuned: int = 6,
    k: int = 10,
    num_recommended: int = 100,
    item_weights: np.ndarray | None = None,
    unit_importance: np.ndarray | None = None,
    head_importance: np.ndarray | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> SearchResult:
    """Search for the best compressed student whose `.tflite` file has at most `max_bytes`.

    Every candidate is compressed, exported and measured as a file: that says how sensitive each
    table and layer is. Those that fit, best first and each form of table at least once, are then
    trained on by `fine_tune`, exported and measured again. A text tower is given up only where
    nothing fits with it. The best of many on the same queries is too good a figure: measure what
    is chosen on others.

    All points stay in `directory/points/`, so that an interrupted search goes on where it was and
    one with another budget measures nothing twice.

    Args:
        student: a trained retrieval student; it stays as it is.
        queries: of validation, by which is chosen; their catalogue is the one it was trained on.
        directory: where points are kept.
        max_bytes: of the file.
        max_drop: the share of the NDCG of the student in float32 that may be lost.
        fine_tune: trains a compressed student on, in place, such as by `Distiller.fit`; where that
            makes it worse it stays as it was. None trains nothing.
        candidates: lists of methods, see `compress`; by default `candidates_of(student)`.
        num_tuned: how many are trained on at most.
        k: of NDCG@k.
        num_recommended: items that the file gives.
        item_weights: see `compress`.
        unit_importance: see `compress`.
        head_importance: see `compress`.
        fingerprint: of `fine_tune`, with which it is needed: points with another one are made anew.
        progress: receives every point.

    Raises:
        InputError: nothing fits, and what the least possible is; or an argument is not usable.
    """
    _check(student, queries, max_bytes, max_drop, k, num_recommended)
    if fine_tune is not None and not fingerprint:
        raise InputError(
            "`fine_tune` needs a `fingerprint`, a text that changes when it does: students that an "
            "earlier search trained on otherwise are not taken for this one's. Received: ''."
        )
    search = Search(
        student,
        queries,
        directory,
        fine_tune=fine_tune,
        k=k,
        num_recommended=num_recommended,
        item_weights=item_weights,
        unit_importance=unit_importance,
        head_importance=head_importance,
        fingerprint=fingerprint,
        progress=progress,
    )
    levels = candidates_of(student) if candidates is None else [_read_candidates(candidates)]
    with search.lock():
        uncompressed = search.measure([UNCOMPRESSED])[0]
        if not uncompressed.score > 0:
            raise InputError(
                f"The student in float32 has an NDCG@{k} of 0 on `queries`, so nothing says what "
                "compression costs. Train it first, or give more queries."
            )
        points: list[Point] = []
        fitting: list[Point] = []
        for level in levels:
            points += search.measure(level)
            fitting = [point for point in points if point.bytes <= max_bytes]
            if fitting or uncompressed.bytes <= max_bytes:
                break
        if not fitting and uncompressed.bytes > max_bytes:
            raise InputError(_nothing_fits(points, max_bytes, uncompressed))
        if fine_tune is not None:
            points += search.tune(_promising(fitting)[:num_tuned])
    points = sorted(_with_best([uncompressed, *points]), key=lambda point: point.bytes)
    fitting = [point for point in points if point.bytes <= max_bytes]
    chosen = max(fitting, key=lambda point: (point.score, -point.bytes))
    (uncompressed,) = (point for point in points if point.methods == UNCOMPRESSED)
    found = SearchResult(tuple(points), chosen, uncompressed)
    if found.drop > max_drop:
        raise InputError(_drops_too_much(found, max_bytes, max_drop))
    return found


def candidates_of(student: TwoTower) -> list[list[tuple[str, ...]]]:
    """The lists of methods that are tried: with the text tower, and without it if need be.

    All are valid for the student, and none is there twice.
    """
    rows, width = student.num_items + 1, student.candidate_tower.embedding_dim + 1
    encoder = student.query_tower.encoder
    units, heads = (
        min(HIDDEN_UNITS.numbers(encoder), default=0) // 2,
        min(ATTENTION_HEADS.numbers(encoder), default=0) // 2,
    )
    narrow = num_codes(width, max(1, width // 11))  # about as many bytes as a bit a number
    size = min(256, max(2, rows // 4))
    tables: list[tuple[str, ...]] = [
        ("int8",),
        ("int4",),
        ("int2",),
        (f"low-rank:{max(1, min(rows, width * 3 // 4))}", "int4"),
        (f"shared-rows:{max(4, rows // 2)}", "int4"),
        (f"shared-rows:{max(4, rows // 4)}", "int4"),
        (f"shared-rows:{max(4, rows // 4)}", "int2"),
        (f"shared-rows:{min(256, max(4, rows // 6))}", "int4"),  # whose numbers are bytes
        (f"product:{num_codes(width, min(width, 2 * narrow))}:{size}", "int4"),
        (f"product:{narrow}:{size}", "int4"),
        (f"product:{narrow}:{max(2, size // 4)}", "int4"),
    ]
    smallest = tables[-2:]
    # Half of them: LiteRT keeps small matrices in 32 bits.
    fewer_units, fewer_heads = f"{UNITS}:{units}", f"{HEADS}:{heads}"
    if units:
        tables += [(fewer_units, *methods) for methods in (("int4",), *smallest)]
    if heads:
        tables.append((fewer_heads, "int4"))
        tables += [(fewer_units, fewer_heads, *methods) for methods in (("int4",), smallest[-1])]
    if rows < 5:  # `shared-rows` has 4 at least
        tables = [methods for methods in tables if "shared-rows:4" not in methods]
    levels = [list(dict.fromkeys(tables))]
    if getattr(student.candidate_tower, "text_tower", None) is not None:
        levels.append([(IDS_ONLY, *methods) for methods in levels[0]])
    return levels


class Search:
    """Makes, measures and keeps points; the arguments are those of `to_budget`."""

    def __init__(
        self,
        student: TwoTower,
        queries: Queries,
        directory: str | os.PathLike[str],
        *,
        fine_tune: FineTune | None = None,
        k: int = 10,
        num_recommended: int = 100,
        item_weights: np.ndarray | None = None,
        unit_importance: np.ndarray | None = None,
        head_importance: np.ndarray | None = None,
        fingerprint: str = "",
        progress: Progress | None = None,
    ) -> None:
        self.student, self.queries, self.directory = student, queries, Path(directory)
        self.fine_tune, self.k, self.num_recommended = fine_tune, k, num_recommended
        self.importance = {"unit_importance": unit_importance, "head_importance": head_importance}
        self.weights = {"item_weights": item_weights} | self.importance
        self.progress = progress or SilentProgress()
        counts = None if item_weights is None else np.asarray(item_weights).tolist()
        of_data = [student.fingerprint(), queries.catalogue.fingerprint(), _fingerprint(queries)]
        self.inputs = [__version__, *of_data, k, num_recommended, counts]
        self.tuning_fingerprint = fingerprint

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other searches out of the same directory.

        Raises:
            InputError: one does.
        """
        with locked(self.directory / POINTS, wait=False) as held:
            if not held:
                raise InputError(
                    f"Another search is at work in {self.directory}. Wait for it, or stop it."
                )
            yield

    def measure(self, candidates: Sequence[Sequence[str]]) -> list[Point]:
        """Points of compressed students that are not trained on."""
        points = []
        with self.progress.bar("compressed students", len(candidates)) as advance:
            for methods in candidates:
                points.append(self._point(tuple(methods), None))
                advance(note=_line(points[-1]))
        return points

    def tune(self, points: Sequence[Point]) -> list[Point]:
        """Points of the same methods, trained on."""
        tuned = []
        with self.progress.bar("students trained on", len(points)) as advance:
            for point in points:
                tuned.append(self._point(point.methods, point))
                advance(note=_line(tuned[-1]))
        return tuned

    def _point(self, methods: tuple[str, ...], untuned: Point | None) -> Point:
        inputs = [*self.inputs, methods, untuned is not None and self.tuning_fingerprint]
        left = parts_left(self.student, Methods.of(methods), **self.importance)
        # What stays, and not the importance, whose last digits are chance.
        inputs += [kept.tolist() for kept in left if kept is not None]
        digest = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
        name = "+".join(methods).replace(":", "-") or "float32"
        folder = self.directory / POINTS / (name + ("-tuned" if untuned else ""))
        with_note = folder / POINT_FILE
        if with_note.is_file():
            note = json.loads(with_note.read_text())
            if note.pop("inputs") == digest and (folder / TFLITE).is_file():
                return Point(**(note | {"methods": methods, "folder": str(folder)}))
        smaller = compress(self.student, methods, **self.weights) if methods else self.student
        if untuned is not None and self.fine_tune is not None:
            fine_tune_unless_worse(smaller, self.fine_tune, self.queries, k=self.k)
        with whole_folder(folder) as partial:
            to_tflite(
                smaller,
                partial / TFLITE,
                self.queries.catalogue,
                quantization=quantization_of(methods),
                k=self.num_recommended,
                provenance={"methods": list(methods), "tuned": untuned is not None},
            )
            recommender = Recommender.load(partial)
            score = float(evaluate(recommender, self.queries, k=self.k).ndcg.mean())
            point = Point(
                methods,
                untuned is not None,
                (partial / TFLITE).stat().st_size,
                score,
                score if untuned is None else untuned.score,
                percentiles(recommender, self.queries.histories[:NUM_TIMED], self.k),
                str(folder),
            )
            write_json(partial / POINT_FILE, asdict(point) | {"inputs": digest})
        return point


def _check(
    student: TwoTower,
    queries: Queries,
    max_bytes: int,
    max_drop: float,
    k: int,
    num_recommended: int,
) -> None:
    check_student(student)
    if not max_bytes > 0:
        raise InputError(f"`max_bytes` must be above 0. Received: max_bytes={max_bytes!r}.")
    if not 0 <= max_drop < 1:
        raise InputError(
            f"`max_drop` must be at least 0 and below 1. Received: max_drop={max_drop!r}."
        )
    if not len(queries):
        raise InputError("`queries` must hold at least one query. Received: none.")
    if queries.catalogue.num_items != student.num_items:
        raise InputError(
            f"`queries` are of a catalogue of {queries.catalogue.num_items:,} items, but the "
            f"student knows {student.num_items:,}. Give queries of the data that it was trained on."
        )
    most = min(num_recommended, student.num_items)
    if not 1 <= k <= most:
        raise InputError(
            f"`k` must be from 1 to {most}, the items that a file gives: at most "
            f"`num_recommended` and all of the catalogue. Received: k={k!r}, "
            f"num_recommended={num_recommended!r}."
        )


def _read_candidates(candidates: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Lists of methods that are given, each once."""
    for methods in candidates:
        Methods.of(methods)
    read = list(dict.fromkeys(tuple(methods) for methods in candidates))
    if not read or UNCOMPRESSED in read:
        raise InputError(
            "`candidates` must be lists of methods, such as [['int8'], ['int4']]; the student in "
            f"float32 is measured anyway. Received: {read}."
        )
    return read


def _promising(points: Sequence[Point]) -> list[Point]:
    """Points in the order in which they are trained on: the best of each form first."""
    ordered = sorted(points, key=lambda point: -point.score)
    forms = [(methods.structure, methods.bits) for methods in map(_read, ordered)]
    first = [point for place, point in enumerate(ordered) if forms.index(forms[place]) == place]
    return [*first, *(point for point in ordered if point not in first)]


def _read(point: Point) -> Methods:
    return Methods.of(point.methods)


def _with_best(points: Sequence[Point]) -> list[Point]:
    """Mark the points that no other one is better than in both bytes and score."""
    return [
        replace(
            point,
            best=not any(
                other.bytes <= point.bytes
                and other.score >= point.score
                and (other.bytes, other.score) != (point.bytes, point.score)
                for other in points
            ),
        )
        for point in points
    ]


def _line(point: Point) -> str:
    name = " ".join(point.methods) or "float32"
    return f"{name}  {point.bytes / 1000:.1f} kB  NDCG {point.score:.4f}"


def _nothing_fits(points: Sequence[Point], max_bytes: int, uncompressed: Point) -> str:
    least = min(points, key=lambda point: point.bytes)
    return (
        f"No file of the student fits into {max_bytes:,} bytes. The smallest has "
        f"{least.bytes:,}, by {', '.join(least.methods)}, with an NDCG of {least.score:.4f} "
        f"before it is trained on, where the student in float32 has {uncompressed.score:.4f}. Give "
        "at least as many bytes, or train a narrower student."
    )


def _drops_too_much(found: SearchResult, max_bytes: int, max_drop: float) -> str:
    chosen, whole = found.chosen, found.uncompressed
    enough = [p for p in found.points if p.score >= (1 - max_drop) * whole.score and p.methods]
    words = "None that was measured loses less."
    if enough:
        least = min(enough, key=lambda point: point.bytes)
        words = f"The smallest that loses less has {least.bytes:,}, by {', '.join(least.methods)}."
    return (
        f"In {max_bytes:,} bytes the best student has an NDCG of {chosen.score:.4f}, by "
        f"{', '.join(chosen.methods)}: {found.drop:.1%} below the {whole.score:.4f} of the student "
        f"in float32, where {max_drop:.1%} were allowed. {words} Give more bytes, or allow more."
    )


def _fingerprint(queries: Queries) -> str:
    """Of all that decides a score: also what is left out, and which items are ranked."""
    candidates = [] if queries.candidates is None else [queries.candidates]
    digest = hashlib.sha256(str((queries.catalogue.exclude_seen, len(candidates))).encode())
    for part in (*candidates, *queries.histories, *queries.positives):
        digest.update(str(len(part)).encode() + np.asarray(part, np.int32).tobytes())
    if queries.user_attributes is not None:
        known = queries.user_attributes
        digest.update(str(known.shape).encode() + np.asarray(known, np.int32).tobytes())
    return digest.hexdigest()
