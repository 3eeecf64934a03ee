"""The best student within a size limit in bytes."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill import __version__
from tfrs_distill.compress.compress import check_student, compress, quantization_of
from tfrs_distill.compress.feature_tables import feature_tables, forms_of
from tfrs_distill.compress.fine_tune import FineTune, fine_tune_unless_worse
from tfrs_distill.compress.measures import measure_of
from tfrs_distill.compress.methods import DENSE_RANK, HEADS, IDS_ONLY, UNITS, Methods
from tfrs_distill.compress.network import SmallerNetwork
from tfrs_distill.compress.structures.product import num_codes
from tfrs_distill.compress.suited import Student, parts_left, stages_of
from tfrs_distill.compress.units import ATTENTION_HEADS, HIDDEN_UNITS, Importance, network_of
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.export import to_tflite
from tfrs_distill.export.artefact import Vocabularies
from tfrs_distill.files import locked, whole_folder, write_json
from tfrs_distill.models.ranking_model import RankingModel
from tfrs_distill.models.two_stage_student import TwoStageStudent
from tfrs_distill.progress import Progress, SilentProgress
from tfrs_distill.serving.artefact import TFLITE

POINTS, POINT_FILE = "points", "point.json"
UNCOMPRESSED: tuple[str, ...] = ()


@dataclass(frozen=True)
class Point:
    """A compressed student, exported and measured.

    Args:
        methods: the methods applied to the student; none for the student in float32.
        tuned: whether it was fine-tuned after compression.
        bytes: size of its `.tflite` file; with two stages, of both files.
        score: of the file on the queries, more is better: NDCG@k, or `row_score` for a ranking
            student.
        untuned: the score of the file before fine-tuning.
        latency_ms: `p50` and `p95` of one query, or row, in LiteRT, on one thread.
        folder: folder of its artefact.
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
    """The result of a search: all points, smallest first, and the best within the limit.

    Args:
        points: every student that was measured.
        chosen: the best within the limit.
        uncompressed: the student in float32.
        score_name: name of the points' scores, such as "NDCG@10".
    """

    points: tuple[Point, ...]
    chosen: Point
    uncompressed: Point
    score_name: str

    @property
    def drop(self) -> float:
        """The relative loss in score of the chosen student against the uncompressed one."""
        return 1.0 - self.chosen.score / self.uncompressed.score


def to_budget(
    student: Student,
    queries: Queries | RankingExamples,
    directory: str | os.PathLike[str],
    *,
    max_bytes: int,
    max_drop: float = 0.02,
    fine_tune: FineTune | None = None,
    candidates: Sequence[Sequence[str]] | None = None,
    num_tuned: int = 6,
    k: int = 10,
    num_recommended: int = 100,
    catalogue: Catalogue | None = None,
    vocabularies: Vocabularies | None = None,
    item_weights: np.ndarray | None = None,
    unit_importance: Importance | Sequence[Importance | None] | None = None,
    head_importance: Importance | None = None,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> SearchResult:
    """Search for the best compressed student whose `.tflite` file has at most `max_bytes`.

    Every candidate is compressed, exported and measured as a file; this shows how sensitive each
    table and layer is. `fine_tune` then trains the candidates within the limit, best first and each
    form of table at least once; they are exported and measured again. A text tower is removed only
    if nothing fits with it. The best score of many on the same queries is biased upwards: measure
    the chosen student on other queries.

    All points stay in `directory/points/`. An interrupted search resumes from them, and a search
    with another budget measures nothing twice.

    Args:
        student: a trained student: for retrieval, for ranking and made of features, or of two
            stages; it is not changed.
        queries: validation queries, on which the choice is made; their catalogue is the one that
            the student was trained on. For a ranking student rows, `RankingExamples` with labels of
            all tasks: the score is the mean over the tasks of the AUC of a yes or no,
            `1 - RMSE / standard deviation` of a rating, and the NDCG@k of the next item, for which
            the file ranks all items after the first 500 rows.
        directory: where points are stored.
        max_bytes: size limit of the file; with two stages, of both files together.
        max_drop: the largest relative loss in score, against the student in float32.
        fine_tune: trains a compressed student in place, for example with `Distiller.fit`; if the
            score falls, the previous weights are restored. None: no fine-tuning.
        candidates: lists of methods, see `compress`; by default `candidates_of(student)`.
        num_tuned: how many candidates are fine-tuned at most.
        k: of NDCG@k.
        num_recommended: items that the file of a retrieval student returns.
        catalogue: of a ranking student, see `export_artefact`.
        vocabularies: of a ranking student, see `export_artefact`.
        item_weights: see `compress`.
        unit_importance: see `compress`.
        head_importance: see `compress`.
        fingerprint: of `fine_tune`, required with it: points with another fingerprint are computed
            again.
        progress: called with every point.

    Raises:
        InputError: nothing fits (the message has the smallest size), or an argument is not valid.
    """
    _check(student, max_bytes, max_drop)
    if fine_tune is not None and not fingerprint:
        raise InputError(
            "`fine_tune` needs a `fingerprint`, a text that changes with the function, so that "
            "students of an earlier, other fine-tuning are not reused. Received: ''."
        )
    search = Search(
        student,
        queries,
        directory,
        fine_tune=fine_tune,
        k=k,
        num_recommended=num_recommended,
        catalogue=catalogue,
        vocabularies=vocabularies,
        item_weights=item_weights,
        unit_importance=unit_importance,
        head_importance=head_importance,
        fingerprint=fingerprint,
        progress=progress,
    )
    levels = candidates_of(student) if candidates is None else [_read_candidates(candidates)]
    name = search.measured.name
    with search.lock():
        uncompressed = search.measure([UNCOMPRESSED])[0]
        if not uncompressed.score > 0:
            raise InputError(
                f"The student in float32 has a score ({name}) of "
                f"{uncompressed.score:.4g} on `queries`, so the loss by compression has no "
                "measure: it must be above 0. Train it first, or give more queries."
            )
        points: list[Point] = []
        fitting: list[Point] = []
        for level in levels:
            points += search.measure(level)
            fitting = [point for point in points if point.bytes <= max_bytes]
            if fitting or uncompressed.bytes <= max_bytes:
                break
        if not fitting and uncompressed.bytes > max_bytes:
            smallest = min([uncompressed, *points], key=lambda point: point.bytes)
            raise InputError(_nothing_fits(smallest, uncompressed, name, max_bytes))
        if fine_tune is not None:
            points += search.tune(_promising(fitting)[:num_tuned])
    points = sorted(_with_best([uncompressed, *points]), key=lambda point: point.bytes)
    fitting = [point for point in points if point.bytes <= max_bytes]
    chosen = max(fitting, key=lambda point: (point.score, -point.bytes))
    (uncompressed,) = (point for point in points if point.methods == UNCOMPRESSED)
    found = SearchResult(tuple(points), chosen, uncompressed, name)
    if found.drop > max_drop:
        raise InputError(_drops_too_much(found, max_bytes, max_drop))
    return found


def candidates_of(student: Student) -> list[list[tuple[str, ...]]]:
    """Return the lists of methods to try: with the text tower, and without it if necessary.

    Sizes are derived from the item table, or from a ranking student's largest table. All lists are
    valid for the student, without duplicates. With two stages they contain the lists of both
    students; a text tower is removed from the start, since no items can be added there.
    """
    if isinstance(student, TwoStageStudent):
        stages = (student.retrieval_student, student.ranking_student)
        of_both = [candidates_of(stage)[-1] for stage in stages]
        return [list(dict.fromkeys(itertools.chain(*of_both)))]
    network = network_of(student)
    numbers = [part.numbers(network) for part in (HIDDEN_UNITS, ATTENTION_HEADS)]
    units, heads = (max(of_blocks, default=0) // 2 for of_blocks in numbers)
    if isinstance(student, RankingModel):
        shapes = [(f.table.num_rows, f.table.dim) for f in student.table_features]
        rows, width = max(shapes, key=math.prod, default=(1, 1))
    else:
        rows, width = student.num_items + 1, student.candidate_tower.embedding_dim + 1
    narrow = num_codes(width, max(1, width // 11))  # about as many bytes as one bit per number
    size = min(256, max(2, rows // 4))
    tables: list[tuple[str, ...]] = [
        ("int8",),
        ("int4",),
        ("int2",),
        (f"low-rank:{max(1, min(rows, width * 3 // 4))}", "int4"),
        (f"shared-rows:{max(4, rows // 2)}", "int4"),
        (f"shared-rows:{max(4, rows // 4)}", "int4"),
        (f"shared-rows:{max(4, rows // 4)}", "int2"),
        (f"shared-rows:{min(256, max(4, rows // 6))}", "int4"),  # the indices are bytes
        (f"product:{num_codes(width, min(width, 2 * narrow))}:{size}", "int4:tensor"),
        (f"product:{narrow}:{size}", "int4:tensor"),
        (f"product:{num_codes(width, width // 5 + 1)}:{min(size, 16)}", "int4:tensor"),  # 4 bits
    ]
    smallest = tables[-2:]
    # Of half of the hidden units: LiteRT keeps small matrices in 32 bits.
    fewer_units, fewer_heads = f"{UNITS}:{units}", f"{HEADS}:{heads}"
    if units:
        tables += [(fewer_units, *methods) for methods in (("int4",), *smallest)]
    if heads:
        tables.append((fewer_heads, "int4"))
        tables += [(fewer_units, fewer_heads, *methods) for methods in (("int4",), smallest[-1])]
    if rows < 5:  # `shared-rows` needs at least 4
        tables = [methods for methods in tables if "shared-rows:4" not in methods]
    levels = [list(dict.fromkeys(tables))]
    if isinstance(student, RankingModel):
        return [_of_ranking(student, levels[0], f"{UNITS}:{units}" if units else "")]
    if getattr(student.candidate_tower, "text_tower", None) is not None:
        levels.append([(IDS_ONLY, *methods) for methods in levels[0]])
    return levels


def _of_ranking(
    student: RankingModel, tables: Sequence[tuple[str, ...]], units: str
) -> list[tuple[str, ...]]:
    """Return the lists that shrink a table; also narrow crosses with few units, for any table."""
    of_tables, crossed = feature_tables(student), sum(f.dim for f in student.features)
    found = []
    for methods in tables:
        with contextlib.suppress(InputError):
            forms_of(of_tables, Methods.of(methods))
            found.append(methods)
    narrow = (f"{DENSE_RANK}:{max(1, crossed // 4)}", *([units] if units else []))
    for methods in (narrow, *((*narrow, *methods) for methods in found[:3])):
        read = Methods.of(methods)
        with contextlib.suppress(InputError):
            SmallerNetwork(student).factorize(read.dense_rank, 0.0, read.bits)
            found.append(methods)
    return found


class Search:
    """Create, measure and store points; the arguments are those of `to_budget`."""

    def __init__(
        self,
        student: Student,
        queries: Queries | RankingExamples,
        directory: str | os.PathLike[str],
        *,
        fine_tune: FineTune | None = None,
        k: int = 10,
        num_recommended: int = 100,
        catalogue: Catalogue | None = None,
        vocabularies: Vocabularies | None = None,
        item_weights: np.ndarray | None = None,
        unit_importance: Importance | Sequence[Importance | None] | None = None,
        head_importance: Importance | None = None,
        fingerprint: str = "",
        progress: Progress | None = None,
    ) -> None:
        self.student, self.directory, self.fine_tune = student, Path(directory), fine_tune
        self.measured = measure_of(
            student,
            queries,
            k=k,
            num_recommended=num_recommended,
            catalogue=catalogue,
            vocabularies=vocabularies,
        )
        self.importance: dict[str, Any] = {
            "unit_importance": unit_importance,
            "head_importance": head_importance,
        }
        self.weights = {"item_weights": item_weights, **self.importance}
        self.progress = progress or SilentProgress()
        counts = None if item_weights is None else np.asarray(item_weights).tolist()
        self.inputs = [__version__, student.fingerprint(), *self.measured.inputs, counts]
        self.tuning_fingerprint = fingerprint

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the directory against other searches.

        Raises:
            InputError: another search uses the directory.
        """
        with locked(self.directory / POINTS, wait=False) as held:
            if not held:
                raise InputError(
                    f"Another search is running in {self.directory}. Wait for it, or stop it."
                )
            yield

    def measure(self, candidates: Sequence[Sequence[str]]) -> list[Point]:
        """Return points of compressed students without fine-tuning."""
        points = []
        with self.progress.bar("compressed students", len(candidates)) as advance:
            for methods in candidates:
                points.append(self._point(tuple(methods), None))
                advance(note=self._line(points[-1]))
        return points

    def tune(self, points: Sequence[Point]) -> list[Point]:
        """Return points of the same methods with fine-tuning."""
        tuned = []
        with self.progress.bar("students fine-tuned", len(points)) as advance:
            for point in points:
                tuned.append(self._point(point.methods, point))
                advance(note=self._line(tuned[-1]))
        return tuned

    def _line(self, point: Point) -> str:
        name = " ".join(point.methods) or "float32"
        return f"{name}  {point.bytes / 1000:.1f} kB  {self.measured.name} {point.score:.4f}"

    def _parts_left(self, read: Methods) -> Iterator[list[np.ndarray] | None]:
        """The units and heads that are kept, of both stages if there are two."""
        if isinstance(self.student, TwoStageStudent):
            for stage, of_stage, importance in stages_of(self.student, read, **self.importance):
                yield from parts_left(stage, of_stage, **importance)
        else:
            yield from parts_left(self.student, read, **self.importance)

    def _point(self, methods: tuple[str, ...], untuned: Point | None) -> Point:
        inputs = [*self.inputs, methods, untuned is not None and self.tuning_fingerprint]
        # The kept parts, not the importance values: their last digits are not reproducible.
        for kept in self._parts_left(Methods.of(methods)):
            inputs += [] if kept is None else [[block.tolist() for block in kept]]
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
            fine_tune_unless_worse(smaller, self.fine_tune, self.measured.of_student)
        with whole_folder(folder) as partial:
            to_tflite(
                smaller,
                partial / TFLITE,
                quantization=quantization_of(methods),
                provenance={"methods": list(methods), "tuned": untuned is not None},
                **self.measured.exported_with,
            )
            score, latency = self.measured.of_file(partial)
            point = Point(
                methods,
                untuned is not None,
                sum(file.stat().st_size for file in partial.rglob(TFLITE)),
                score,
                score if untuned is None else untuned.score,
                latency,
                str(folder),
            )
            write_json(partial / POINT_FILE, asdict(point) | {"inputs": digest})
        return point


def _check(student: Student, max_bytes: int, max_drop: float) -> None:
    check_student(student)
    if not max_bytes > 0:
        raise InputError(f"`max_bytes` must be above 0. Received: max_bytes={max_bytes!r}.")
    if not 0 <= max_drop < 1:
        raise InputError(
            f"`max_drop` must be at least 0 and below 1. Received: max_drop={max_drop!r}."
        )


def _read_candidates(candidates: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the given lists of methods without duplicates."""
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
    """Return points in the order of fine-tuning: the best of each form first."""
    ordered = sorted(points, key=lambda point: -point.score)
    forms = [(methods.structure, methods.bits) for methods in map(_read, ordered)]
    first = [point for place, point in enumerate(ordered) if forms.index(forms[place]) == place]
    return [*first, *(point for point in ordered if point not in first)]


def _read(point: Point) -> Methods:
    return Methods.of(point.methods)


def _with_best(points: Sequence[Point]) -> list[Point]:
    """Mark the points for which no other point is better in both bytes and score."""
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


def _nothing_fits(least: Point, whole: Point, name: str, max_bytes: int) -> str:
    how = f", by {', '.join(least.methods)}" if least.methods else ", in float32"
    return (
        f"No file of the student fits into {max_bytes:,} bytes. The smallest has "
        f"{least.bytes:,}{how}, with a score ({name}) of {least.score:.4f} "
        f"before fine-tuning; the student in float32 has {whole.score:.4f}. Give "
        "at least as many bytes, or train a narrower student."
    )


def _drops_too_much(found: SearchResult, max_bytes: int, max_drop: float) -> str:
    chosen, whole = found.chosen, found.uncompressed
    enough = [p for p in found.points if p.score >= (1 - max_drop) * whole.score and p.methods]
    words = "No measured student loses less."
    if enough:
        least = min(enough, key=lambda point: point.bytes)
        words = f"The smallest that loses less has {least.bytes:,}, by {', '.join(least.methods)}."
    return (
        f"In {max_bytes:,} bytes the best student has a score ({found.score_name}) of "
        f"{chosen.score:.4f}, by {', '.join(chosen.methods)}: {found.drop:.1%} below the "
        f"{whole.score:.4f} of the student in float32, where {max_drop:.1%} were allowed. {words} "
        "Give more bytes, or allow more."
    )
