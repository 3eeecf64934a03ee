"""How small can a student get, and at what price?

    python benchmarks/compression.py [--part runs|files|million|zeros ...] [--quick] [--seeds 0 1 2]
        [--recipe NAME] [--split SPLIT] [--untuned] [--out DIR] [--json FILE]

`runs`: the student of a recipe over several seeds, each a whole run. Every candidate of the search
of `tfrs-distill compress`, and 4-bit and 2-bit tables with one scale each, is compressed, exported
and measured as a file, before and after fine-tuning with the teacher (with `--untuned` only
before). Candidates are chosen on validation, metrics are on test, intervals
over users and seeds. Milliseconds are measured in one process with one thread, all files in turn.
`files`: the file sizes of id-only students, also with fewer units and heads and with low-rank
matrices. `million`: a planted catalogue of 1,000,000 items of width 64. `zeros`: whether pruned
weights make a file smaller or faster. Runs and points that are on disk are not made again.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from retrieval import with_split
from rows import Row, publish, row

from tfrs_distill import pipeline
from tfrs_distill.compress import compress, quantization_of
from tfrs_distill.compress.budget import Point, Search, candidates_of
from tfrs_distill.data.catalogue import Catalogue
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import evaluate, metrics
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.export import to_tflite
from tfrs_distill.models import HistoryTower, ItemTower, RecencyAttention, RetrievalStudent
from tfrs_distill.pipeline.compression.fine_tuning import Compression
from tfrs_distill.pipeline.fresh_process import in_fresh_process
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.terminal import TerminalProgress
from tfrs_distill.pipeline.worker import default_processes
from tfrs_distill.serving import Recommender

import tensorflow as tf  # isort: skip  (after tfrs_distill, which chooses Keras 2)

PARTS = ("runs", "files", "million", "zeros")
RECIPE, GOALS = "movielens-100k", {"int8": "<= 45000", "95%": "<= 16000"}  # bytes of its files
K = 10
FEW_BITS = [("int4:tensor",), ("int2:tensor",)]  # one scale per table is not enough here
FORMS = [(), ("float16",), ("int8",)]
NUM_TIMED, ROUNDS = 200, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small runs, as a smoke test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipe", default=RECIPE, help="a built-in recipe or a file")
    parser.add_argument("--split", help="such as leave-one-out; default: the recipe's")
    parser.add_argument("--untuned", action="store_true", help="without fine-tuning")
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[Row] = []
    if "runs" in arguments.part:
        rows += runs(arguments)
    if "files" in arguments.part:
        rows += files()
    if "million" in arguments.part:
        rows += million(100_000 if arguments.quick else 1_000_000)
    if "zeros" in arguments.part:
        rows += zeros()
    publish(rows, arguments.json)


def runs(arguments: argparse.Namespace) -> list[Row]:
    """The result rows of a recipe's students."""
    recipe = Recipe.load(arguments.recipe)
    recipe = with_split(recipe.quick() if arguments.quick else recipe, arguments.split)
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    measured = [_of_seed(recipe, seed, arguments.out, not arguments.untuned) for seed in seeds]
    names = list(measured[0])
    print("\n| student | bytes | validation | test | kept (95 %) | before | ms p50 | p95 |")
    print("|---|---|---|---|---|---|---|---|")
    kept, best = {}, {}
    for name in names:
        found = [of_seed[name] for of_seed in measured]
        plain = [of_seed["float32"] for of_seed in measured]
        kept[name] = _over_seeds(found, plain)
        best[name] = float(np.mean([one["validation"] for one in found])) / float(
            np.mean([one["validation"] for one in plain])
        )
        ratio, low, high = kept[name]
        mean = {
            key: float(np.mean([one[key] for one in found])) for key in found[0] if key in SHOWN
        }
        print(
            f"| {name} | {mean['bytes']:,.0f} | {mean['validation']:.4f} | "
            f"{np.mean([one['ndcg'].mean() for one in found]):.4f} | {ratio:.1%} ({low:.1%} to "
            f"{high:.1%}) | {mean['untuned']:.4f} | {mean['p50']:.3f} | {mean['p95']:.3f} |"
        )
    size = {name: max(of_seed[name]["bytes"] for of_seed in measured) for name in names}
    detail = f"seeds {', '.join(map(str, seeds))}; test, interval over users and seeds"

    def of_kept(name: str) -> str:
        return f"{kept[name][1]:.4f} to {kept[name][2]:.4f}; {detail}"

    goals = GOALS if arguments.recipe == RECIPE else {}
    tower = "with the text tower" if recipe.item_texts.read else "of ids alone"
    rows = [
        row("identical_lists_float32", _same(measured), "share", ">= 1", "LiteRT beside Keras"),
        row("float16_kept", kept["float16"][0], "ratio", ">= 0.995", of_kept("float16")),
        row("int8_kept", kept["int8"][0], "ratio", ">= 0.995", of_kept("int8")),
        row("int8_bytes", size["int8"], "bytes", goals.get("int8", ""), tower),
    ]
    if "ids-only int8" in size:
        words = "without the text tower"
        goal = goals.get("int8", "")
        rows.append(row("ids_only_int8_bytes", size["ids-only int8"], "bytes", goal, words))
    for share in (0.95, 0.99):
        enough = [name for name in names if best[name] >= share]
        least = min(enough, key=size.__getitem__)
        words = f"{least}, chosen on validation; on test {kept[least][0]:.1%} ({of_kept(least)})"
        goal = goals.get(f"{share:.0%}", "")
        rows.append(row(f"smallest_keeping_{share:.0%}", size[least], "bytes", goal, words))
    for name in names:
        if name.endswith(", fine-tuned") and ("int4" in name or "int2" in name):
            before = name.removesuffix(", fine-tuned")
            pairs = [[of_seed[one] for of_seed in measured] for one in (name, before)]
            ratio, low, high = _over_seeds(*pairs)
            words = f"{low:.4f} to {high:.4f}; {detail}"
            rows.append(row(f"fine-tuned / not: {before}", ratio, "ratio", ">= 1", words))
    return rows


SHOWN = ("bytes", "validation", "untuned", "p50", "p95")


def _of_seed(recipe: Any, seed: int, out: Path, tunes: bool) -> dict[str, dict[str, Any]]:
    """Every student of one seed: bytes, validation, each test user's NDCG, milliseconds."""
    progress = TerminalProgress()
    seeded = replace(recipe, seed=seed, name=f"{recipe.name}-seed-{seed}")
    if (out / seeded.name / "report.json").is_file():  # with any controls
        seeded = Recipe.from_toml(out / seeded.name / "recipe.toml")
    else:
        seeded = replace(seeded, training=replace(seeded.training, controls=()))
        pipeline.run(seeded, out, progress, processes=default_processes())
    run = Run(seeded, out, progress)
    this, splits = Compression(run), run.data.splits
    levels = candidates_of(this.student)
    candidates = [*FORMS, *FEW_BITS, *(methods for level in levels for methods in level)]
    candidates = list(dict.fromkeys(candidates))
    # A text tower is not fine-tuned: the table is the same with and without it.
    tuned = [*FEW_BITS, *(methods for methods in levels[-1] if is_tuned(methods))]
    search = Search(
        this.student,
        splits.validation,
        run.home / "compress",
        fine_tune=this.fine_tune,
        k=recipe.evaluation.k,
        num_recommended=recipe.export.k,
        fingerprint=str(this.settings),
        progress=progress,
        **this.weights,
    )
    with search.lock():
        points = search.measure(candidates)
        if tunes:
            points += search.tune([point for point in points if point.methods in tuned])
    test = splits.test
    timed = _latencies(points, test.histories[:NUM_TIMED])
    keras = evaluate(ModelScorer(this.student), test, k=recipe.evaluation.k)
    found = {}
    for point in points:
        evaluation = evaluate(Recommender.load(point.folder), test, k=recipe.evaluation.k)
        found[_name(point)] = {
            "bytes": point.bytes,
            "validation": point.score,
            "untuned": point.untuned,
            "ndcg": evaluation.ndcg,
            "same": float((evaluation.item_ids == keras.item_ids).all(axis=1).mean()),
            **timed[point.folder],
        }
    return found


def is_tuned(methods: Sequence[str]) -> bool:
    """Whether fine-tuning can help: more than rounding to 8 or 4 bits was done."""
    return methods[-1] == "int2" or len(set(methods) - {"ids-only"}) > 1


def _name(point: Point) -> str:
    return (" ".join(point.methods) or "float32") + ", fine-tuned" * point.tuned


def _same(measured: Sequence[Mapping[str, Any]]) -> float:
    return min(of_seed["float32"]["same"] for of_seed in measured)


def _latencies(
    points: Sequence[Point], histories: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """The median over several rounds; each times every file once, in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "histories.npz"
        np.savez(file, *histories)
        artefacts = {point.folder: [point.folder, "tflite"] for point in points}
        request = {"histories": str(file), "keras": {}, "artefacts": artefacts}
        rounds = [
            in_fresh_process("tfrs_distill.evaluation.latency", request) for _ in range(ROUNDS)
        ]
    return {
        name: {key: float(np.median([one[name][key] for one in rounds])) for key in ("p50", "p95")}
        for name in artefacts
    }


def _over_seeds(
    found: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]]
) -> tuple[float, float, float]:
    """The ratio of two students' NDCG, with a bootstrap interval over users and seeds."""
    one, other = (np.stack([of_seed["ndcg"] for of_seed in side]) for side in (found, plain))
    found_of = metrics.paired_difference(one, other, num_samples=2000)
    level, (low, high) = float(other.mean()), found_of["interval"]
    return found_of["ratio"], 1 + low / level, 1 + high / level


def files() -> list[Row]:
    """Untrained students of 1,682 items: the size of a file does not depend on training."""
    rows = []
    narrow = _student(16)
    for quantization, goal in (("float32", "<= 135000"), ("float16", ""), ("int8", "<= 45000")):
        size = _bytes_of(narrow, quantization)
        rows.append(row(f"ids_of_width_16_{quantization}", size, "bytes", goal, "1,682 items"))
    print("\nFiles of 1,682 items\n\n| student | methods | float32 | int8 |\n|---|---|---|---|")
    tried = {
        "32 wide": (_student(32), ["units:32", "dense-rank:5", "dense-rank:16"]),
        "64 wide": (_student(64), ["units:64", "dense-rank:16", "dense-rank:32"]),
        "32 wide, 2 heads": (_attention_student(32), ["units:32", "heads:1", "dense-rank:5"]),
        "64 wide, 2 heads": (_attention_student(64), ["units:64", "heads:1", "dense-rank:16"]),
    }
    sizes = {}
    for name, (student, candidates) in tried.items():
        for method in ("", *candidates):
            for bits in ("", "int8"):
                methods = [one for one in (method, bits) if one]
                sizes[name, method, bits] = _bytes_after(student, methods)
            of_both = (sizes[name, method, bits] for bits in ("", "int8"))
            shown = " | ".join(f"{size:,}" if size else "refused" for size in of_both)
            print(f"| {name} | {method or 'whole'} | {shown} |")
    for method in ("units:32", "dense-rank:5"):
        ratio = sizes["32 wide", method, "int8"] / sizes["32 wide", "", "int8"]
        rows.append(row(f"{method} int8 over int8", ratio, "ratio", "", "bytes, 32 wide"))
    return rows


def _bytes_after(student: RetrievalStudent, methods: Sequence[str]) -> int:
    """The bytes of a compressed student's file; 0 if the sizes are refused."""
    try:
        return _bytes_of(compress(student, methods), quantization_of(methods))
    except InputError:
        return 0


def _bytes_of(student: RetrievalStudent, quantization: str) -> int:
    """The bytes of a student's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.tflite"
        to_tflite(student, path, _catalogue(student.num_items), quantization=quantization)
        return path.stat().st_size


def _student(width: int) -> RetrievalStudent:
    return _not_zero(
        RetrievalStudent.from_history(num_items=1682, max_history=32, embedding_dim=width, seed=0)
    )


def _attention_student(width: int) -> RetrievalStudent:
    items = ItemTower(1682, width, seed=0)
    tower = HistoryTower(items, RecencyAttention(32, width, seed=0))
    return _not_zero(RetrievalStudent(tower, items))


def _not_zero(student: RetrievalStudent) -> RetrievalStudent:
    """Make all weights nonzero, so that no converter can omit zeros."""
    student.build_towers()
    rng = np.random.default_rng(0)
    for weight in student.trainable_variables:
        weight.assign_add(rng.normal(size=weight.shape))
    return student


def million(num_items: int) -> list[Row]:
    """A planted catalogue: rows of 24 factors, and rows without any structure."""
    rng, rows = np.random.default_rng(0), []
    width, num_factors = 64, 24
    print(f"\n{num_items:,} items of width {width}, 100 queries")
    print("\n| table | methods | bytes of the file | overlap@10 | seconds to make | ms p50 |")
    print("|---|---|---|---|---|---|")
    factors = rng.normal(size=[num_items + 1, num_factors])
    planted = factors @ rng.normal(size=[num_factors, width]) / num_factors**0.5
    planted += 0.02 * rng.normal(size=planted.shape)
    narrow = ("low-rank:30", "int8:row")
    tables = {
        "of 24 factors": (planted, [("int8",), ("int4",), narrow]),
        "without structure": (rng.normal(size=planted.shape), [("int8",), ("int4",)]),
    }
    catalogue = _catalogue(num_items)
    for kind, (table, candidates) in tables.items():
        student = RetrievalStudent.from_history(
            num_items=num_items, max_history=8, embedding_dim=width - 1, seed=0
        )
        student.candidate_tower.id_embeddings.assign(table[:, :-1])
        student.candidate_tower.biases.assign(table[:, -1])
        kernel = student.query_tower.encoder.feed_forward.out.kernel
        kernel.assign(tf.zeros_like(kernel))  # a query is the average of the history's items
        histories = [rng.integers(1, num_items + 1, size=8) for _ in range(100)]
        expected = ModelScorer(student)(histories, K)[1]
        for methods in candidates:
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                smaller = compress(student, methods)
                path = Path(folder) / "student.tflite"
                quantization = quantization_of(methods)
                to_tflite(smaller, path, catalogue, quantization=quantization, k=K)
                seconds = time.perf_counter() - start
                recommender = Recommender.load(folder)
                items = recommender(histories, K)[1]
                times = []
                for history in histories[:30]:
                    begun = time.perf_counter()
                    recommender([history], K)
                    times.append(1000 * (time.perf_counter() - begun))
                size = path.stat().st_size
            overlap = float(metrics.overlap(items, expected).mean())
            name, p50 = " ".join(methods), float(np.median(times))
            print(f"| {kind} | {name} | {size:,} | {overlap:.3f} | {seconds:.0f} | {p50:.0f} |")
            if methods is narrow:
                limit = 32 * num_items
                words = f"{name}; {overlap:.3f} overlap; {seconds:.0f} s; {p50:.0f} ms a query"
                rows.append(row("million_items_bytes", size, "bytes", f"<= {limit}", words))
                rows.append(row("million_items_overlap@10", overlap, "share", ">= 0.98", name))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows.append(row("million_items_peak_memory", peak, "GB", "", "of the whole process"))
    return rows


def _catalogue(num_items: int) -> Catalogue:
    ids = tuple(map(str, range(1, num_items + 1)))
    return Catalogue(ids, ids, ids)


def zeros() -> list[Row]:
    """Files of a network whose weights are 80 % zeros, with and without encoding them."""
    from ai_edge_litert.interpreter import Interpreter

    layers = [tf.keras.layers.Dense(width, "relu") for width in (512, 512, 512, 256, 64)]
    model = tf.keras.Sequential([tf.keras.Input([64], batch_size=1), *layers])
    print("\n| zeros | optimizations | bytes | ms p50 |\n|---|---|---|---|")
    sizes = {}
    for name, block in (("none", None), ("single weights", 1), ("blocks of 4", 4)):
        rng = np.random.default_rng(0)
        for layer in layers:
            kernel = rng.normal(size=layer.kernel.shape).astype(np.float32)
            if block is not None:
                means = np.abs(kernel).reshape(-1, block, kernel.shape[1]).mean(axis=1)
                kept = np.repeat(means >= np.quantile(means, 0.8), block, axis=0)
                kernel *= kept
            layer.kernel.assign(kernel)
        for optimizations in ([], [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]):
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            converter.optimizations = optimizations
            content = converter.convert()
            interpreter = Interpreter(model_content=content, num_threads=1)
            runner = interpreter.get_signature_runner()
            (inputs,) = runner.get_input_details()
            given = {inputs: np.ones([1, 64], np.float32)}
            times = []
            for _ in range(300):
                begun = time.perf_counter()
                runner(**given)
                times.append(1000 * (time.perf_counter() - begun))
            encoding = "sparse" if optimizations else "none"
            sizes[name, encoding] = len(content)
            print(f"| {name} | {encoding} | {len(content):,} | {np.median(times):.3f} |")
    ratio = sizes["single weights", "none"] / sizes["none", "none"]
    words = "a pruned file over one that is not: zeros alone save nothing"
    return [row("pruned_file_over_plain", ratio, "ratio", ">= 0.99", words)]


if __name__ == "__main__":
    main()
