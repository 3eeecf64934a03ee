"""What does a text teacher contribute on cold-start items and users, and in transfer?

    python benchmarks/transfer.py [--part PART ...] [--quick] [--seeds 0 1 2]
        [--source RECIPE] [--target RECIPE] [--out DIR] [--json FILE]

Four parts, all by default; with `--quick` the first alone, unless others are named.

`cold-items` runs the recipe `cold-items` with every seed: a quarter of the films is in no training
row, and only these are ranked and relevant. They are evaluated all together, and separately those
whose texts are known in training, so that the student can be distilled on them (`described`), and
those whose texts become known only in the test, as for a new film (`undescribed`). The models of
the run are compared with

- the twin that reads the BERT's own vectors instead of the text tower (their first principal
  components): the contribution of the text without a teacher, if the BERT can be run;
- averages of the history's vectors, latest first, compared with each film's vector, without any
  training: vectors of the BERT, of TF-IDF, of the tower's word pieces, of model2vec, which is
  distilled from the same BERT in its own environment, made below DIR: with its default 256 numbers
  per piece, and with 8 numbers in 8 bits, which are fewer bytes than the tower's; and the ready
  ones of `tokenlearn-static-model`, 64 numbers in 8 bits. Centring of the vectors, the decay of the
  history, and model2vec's weights are chosen on validation;
- the twin that reads model2vec's vectors;
- popularity by genre: the popularity of the films of the same genres that are in training.

Then the quality of the student of MovieLens-100K for users of whom only the last 0, 1, 2, ... films
are known (all films of the history are excluded from the lists nevertheless), compared with its
twin and popularity; and the cost of the tower: its bytes in the 8-bit file, and the titles per
second on one core, compared with the BERT there. The seed draws the cold films, so the queries of
all seeds are pooled: intervals are 95 % bootstrap intervals over these, paired for a difference.

`cold-users`: a fifth of the users of MovieLens-100K, drawn with the seed, are in no training row.
Films are recommended to them from the last 0, 1, 2 and 5 of their first five; their later films are
relevant, and the first five are excluded from all lists. The id-only twin reads the history. It is
compared with the same twin with age, gender and occupation, available and missing, and with
popularity, over all users and by group: with p_i the share of users who interacted with film i, and
p_i(g) that of group g with 100 average users added, the score is
`log p_i + sum_g log(p_i(g) / p_i)` over the user's groups.

`cross-domain`: the teacher of the recipe `--source` (MovieLens-1M) is transferred to the recipe
`--target` (MovieLens-100K) with 5 % of each user's training interactions: with all weights trained,
with adapters, and not trained at all, each compared with the same teacher of the target alone; and
the student of the first compared with the best model of the target alone. `scarce`: student, all
controls and teacher of the target with 10 % of the interactions, with and without transfer from the
source, and with histories that the teacher continues (for the self-taught control the twin does); a
further run omits these histories; the goal compares with the best control. Intervals of both are
over users and seeds, paired for a difference.

Runs that are on disk are not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2

import tensorflow as tf  # isort: skip
from tfrs_distill import pipeline
from tfrs_distill.data import Interactions, split_cold_items
from tfrs_distill.data.assets import MOVIELENS_100K
from tfrs_distill.data.readers.user_attributes import read_user_attributes
from tfrs_distill.data.splits import Queries, Splits, windows_of
from tfrs_distill.evaluation import evaluate, metrics
from tfrs_distill.evaluation.baselines import popularity
from tfrs_distill.evaluation.baselines.recommenders import ConstantScorer
from tfrs_distill.evaluation.retrieval import ModelScorer
from tfrs_distill.evaluation.teacher_report import scorer_of
from tfrs_distill.evaluation.top_k import BlockScorer
from tfrs_distill.files import whole_file
from tfrs_distill.models import DecayedAverage, HistoryTower, RetrievalStudent, warm_start
from tfrs_distill.models.described_item_tower import DescribedItemTower
from tfrs_distill.pipeline.cold_validation import ColdValidationNDCG
from tfrs_distill.pipeline.data import RetrievalData
from tfrs_distill.pipeline.encoders import encoder_name, open_bert
from tfrs_distill.pipeline.fit_until_best import ValidationCallback, fit_until_best
from tfrs_distill.pipeline.recipe import Recipe, RetrievalRecipe
from tfrs_distill.pipeline.run_folder import (
    ITEM_VECTORS,
    PIECE_VECTORS_FILE,
    WORDS,
    WORDS_FILE,
)
from tfrs_distill.pipeline.teacher_kinds import TeacherContext, teacher_kind
from tfrs_distill.pipeline.terminal import TerminalProgress
from tfrs_distill.pipeline.worker import default_processes
from tfrs_distill.serving.model_file import open_model
from tfrs_distill.serving.word_pieces import WordPieces

from cross_domain import Pair, cross_domain, scarce  # isort: skip
from peers import SCRIPTS, environment  # isort: skip
from rows import Row, publish, row  # isort: skip

FROM_OTHER_RUNS = {"cross-domain": cross_domain, "scarce": scarce}
OF_SCRIPT = ("cold-items", "cold-users", *FROM_OTHER_RUNS)
PARTS = ("all", "described", "undescribed")
BERT_TWIN, OF_BERT, OF_TFIDF, OF_PIECES, OF_GENRES = (
    "twin of BERT vectors",
    "averaged BERT vectors",
    "averaged TF-IDF",
    "averaged word pieces",
    "popularity by genre",
)
MODEL2VEC, SMALL_MODEL2VEC = "model2vec", "model2vec of 8 bytes"
MODEL2VEC_TWIN = f"twin of {MODEL2VEC}"
SIZES = {MODEL2VEC: (256, "float16"), SMALL_MODEL2VEC: (8, "int8")}  # width of the pieces
SIF_COEFFICIENTS = (1e-4, None)  # model2vec's default; equal weights for all pieces
OF_MODEL2VEC = tuple(f"averaged {size}" for size in SIZES)
TOKENLEARN = "tokenlearn"
OF_TOKENLEARN = f"averaged {TOKENLEARN}"
ON_DEVICE = (  # these need no BERT to add an item
    "twin",
    "plain",
    MODEL2VEC_TWIN,
    OF_TFIDF,
    OF_PIECES,
    *OF_MODEL2VEC,
    OF_TOKENLEARN,
    OF_GENRES,
)
CONTROLS = (*ON_DEVICE, BERT_TWIN, OF_BERT)
COMPONENTS = 32  # number of components that a twin reads
DECAYS = (None, 4.0, 16.0)
KNOWN = (0, 1, 2, 3, 5, 10, 32)  # known items of a user
NEW_USERS, FIRST, OF_FIRST = 0.2, 5, (0, 1, 2, 5)  # share of users; first items; how many are read
ATTRIBUTES = ("age", "gender", "occupation")
ALONE, NOT_KNOWN, WITH, POPULARITY, BY_GROUP = (
    "history alone",
    "attributes not known",
    "attributes known",
    "popularity",
    "popularity by group",
)
AVERAGE_USERS = 100  # added to each group
ROUNDS = 7
Values = dict[str, dict[str, np.ndarray]]  # NDCG by model and part of the items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=OF_SCRIPT, help="default: all")
    parser.add_argument(
        "--quick", action="store_true", help="small runs of one seed, as a smoke test"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--source", default="movielens-1m", help="a built-in recipe or a file")
    parser.add_argument("--target", default="movielens-100k", help="a built-in recipe or a file")
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    parts = arguments.part or (OF_SCRIPT[:1] if arguments.quick else OF_SCRIPT)
    rows: list[Row] = []
    if "cold-items" in parts:
        rows += cold_items(seeds, arguments.out, quick=arguments.quick)
    if "cold-users" in parts:
        rows += new_users(seeds, quick=arguments.quick)
    for name, part in FROM_OTHER_RUNS.items():
        if name in parts:
            pair = Pair.named(arguments.source, arguments.target, quick=arguments.quick)
            rows += part(pair, seeds, arguments.out)
    publish(rows, arguments.json)


def cold_items(seeds: Sequence[int], out: Path, *, quick: bool) -> list[Row]:
    """The results of a text teacher on cold-start items."""
    recipe = Recipe.named("cold-items")
    recipe = recipe.quick() if quick else recipe
    of_seeds: list[Values] = []
    for seed in seeds:
        seeded = replace(recipe, seed=seed, name=f"{recipe.name}-seed-{seed}")
        pipeline.run(seeded, out, TerminalProgress(), processes=default_processes())
        of_seeds.append(measured(seeded, out, quick=quick))
    ndcg = {
        model: {part: np.concatenate([of[model][part] for of in of_seeds]) for part in PARTS}
        for model in of_seeds[0]
    }
    print(table(ndcg, seeds))
    if not quick:  # a second run, on all films
        whole = replace(Recipe.named("movielens-100k"), seed=seeds[0])
        whole = replace(whole, name=f"ml-100k-seed-{seeds[0]}")
        pipeline.run(whole, out, TerminalProgress(), processes=default_processes())
        print(cold_users(whole, out))
    return [*goals(ndcg), *costs(seeded, out), *bytes_of_static_vectors(out)]


def measured(recipe: RetrievalRecipe, out: Path, *, quick: bool) -> Values:
    """NDCG by model and part of the items; cached in the run's folder."""
    home = out / recipe.name
    file = home / "transfer.npz"
    if file.exists():
        with np.load(file) as kept:
            names = {key.rpartition("/")[0] for key in kept}
            return {name: {part: kept[f"{name}/{part}"] for part in PARTS} for name in names}
    data = RetrievalData.load(home / "stages" / "data", recipe)
    found: Values = {}
    parts = queries_of(data, recipe)
    controls = further_controls(recipe, data, home)
    if not quick:
        controls |= static_controls(recipe, data, out)
    for name, model in (models_of(recipe, data, home) | controls).items():
        found[name] = {}
        for part, queries in parts.items():
            scorer = scorer_of(model, queries, recipe.data.max_history)
            found[name][part] = evaluate(scorer, queries, k=recipe.evaluation.k).ndcg
    with whole_file(file) as kept:
        arrays = {f"{name}/{part}": ndcg for name, by in found.items() for part, ndcg in by.items()}
        np.savez(kept, **arrays)
    return found


def queries_of(data: RetrievalData, recipe: RetrievalRecipe) -> dict[str, Queries]:
    """The test's queries by part: only the part's items are ranked and relevant."""
    cold = data.cold
    targets = {"all": cold.all, "described": cold.described, "undescribed": cold.undescribed}
    max_history = recipe.data.max_history
    return {
        part: split_cold_items(
            data.interactions, cold, items, max_history=max_history
        ).test.answerable()
        for part, items in targets.items()
    }


def models_of(recipe: RetrievalRecipe, data: RetrievalData, home: Path) -> dict[str, object]:
    """The models of a finished run."""
    stages = home / "stages"
    context = TeacherContext(recipe, data, [], TerminalProgress(), home / ITEM_VECTORS)
    kind = teacher_kind(context)
    artefact = home / str(recipe.export.version) / "student_int8.tflite"
    return {
        "teacher": kind.open(stages / "teacher"),
        **{
            name: tf.keras.models.load_model(stages / name / "student.keras")
            for name in ("twin", "plain", "student")
        },
        "student_int8": td.Recommender.load(artefact),
    }


def further_controls(recipe: RetrievalRecipe, data: RetrievalData, home: Path) -> dict[str, object]:
    """Models trained without a teacher, or not at all."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, k = data.catalogue.texts, recipe.evaluation.k
    of_bert = np.asarray(open_bert(recipe).encode(texts))
    of_words = TfidfVectorizer().fit(data.known_texts).transform(texts).toarray()
    words = home / "stages" / WORDS
    pieces = WordPieces(**json.loads((words / WORDS_FILE).read_text(encoding="utf-8")))
    rows, vectors = pieces.encode(texts), np.load(words / PIECE_VECTORS_FILE)
    of_pieces = vectors[rows].sum(axis=1) / np.maximum((rows > 0).sum(axis=1, keepdims=True), 1)
    return {
        BERT_TWIN: vector_twin(recipe, data, of_bert, BERT_TWIN),
        OF_BERT: best_average([of_bert], data, k),
        OF_TFIDF: best_average([of_words], data, k),
        OF_PIECES: best_average([of_pieces], data, k),
        OF_GENRES: ConstantScorer(popularity_by_genre(data), exclude_seen=True),
    }


def static_controls(recipe: RetrievalRecipe, data: RetrievalData, out: Path) -> dict[str, object]:
    """The twin of model2vec's unchanged vectors; averages of several sizes and of tokenlearn's."""
    given = {
        "encoder": encoder_name(recipe),
        "sizes": SIZES,
        "sif_coefficients": SIF_COEFFICIENTS,
    }
    found = static_vectors("model2vec", given, data, out)
    choices = {
        name: [found[f"{size}/{coefficient}"] for coefficient in SIF_COEFFICIENTS]
        for name, size in zip(OF_MODEL2VEC, SIZES)
    }
    choices[OF_TOKENLEARN] = [static_vectors(TOKENLEARN, {}, data, out)["vectors"]]
    twin = vector_twin(recipe, data, choices[OF_MODEL2VEC[0]][0], MODEL2VEC_TWIN)
    return {MODEL2VEC_TWIN: twin} | {
        name: best_average(vectors, data, recipe.evaluation.k) for name, vectors in choices.items()
    }


def static_vectors(
    name: str, given: dict[str, object], data: RetrievalData, out: Path
) -> dict[str, np.ndarray]:
    """What a peer's script makes of the texts, in its own environment; kept on disk."""
    file = out / f"{name}.npz"
    if not file.exists():
        python = environment(name, out / "peers").absolute()
        with tempfile.TemporaryDirectory() as folder:
            vectors, request = Path(folder) / "vectors.npz", Path(folder) / "request.json"
            given = given | {"texts": data.catalogue.texts, "vectors": str(vectors)}
            request.write_text(json.dumps(given), encoding="utf-8")
            subprocess.run([python, SCRIPTS / f"{name}_vectors.py", request], check=True)
            with whole_file(file) as kept:
                kept.write(vectors.read_bytes())
    with np.load(file) as kept:
        return dict(kept)


def bytes_of_static_vectors(out: Path) -> list[Row]:
    """The bytes of the static vectors, if they were measured."""
    parts = {f"{size}/bytes": (size, "model2vec") for size in SIZES}
    parts["bytes"] = (TOKENLEARN, TOKENLEARN)
    rows = []
    for key, (shown, name) in parts.items():
        file = out / f"{name}.npz"
        if file.exists():
            with np.load(file) as kept:
                rows.append(row(f"{shown}: vectors", float(kept[key]), "bytes", "", ""))
    return rows


class VectorTower(tf.keras.layers.Layer):
    """Reads constant vectors instead of word pieces: `pieces` are the items."""

    def __init__(self, vectors: np.ndarray, dim: int, seed: int) -> None:
        super().__init__(name="vector_tower")
        self.dim = dim
        self.vectors = tf.constant(np.pad(vectors, [(1, 0), (0, 0)]), tf.float32)
        kernel = tf.keras.initializers.GlorotUniform(seed)
        self.projection = tf.keras.layers.Dense(dim, kernel_initializer=kernel)

    def call(self, pieces: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """`[num_texts, 1]` to `[num_texts, dim]`."""
        return self.projection(tf.gather(self.vectors, pieces[:, 0]))


def vector_twin(
    recipe: RetrievalRecipe, data: RetrievalData, vectors: np.ndarray, name: str
) -> RetrievalStudent:
    """The twin whose text tower is a projection of these vectors, trained like the twin."""
    centred = vectors - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    components = centred @ directions[:COMPONENTS].T
    components /= 3.0 * components.std()
    dim, seed, chosen = recipe.student.embedding_dim, recipe.seed, recipe.twin
    items = DescribedItemTower(
        len(vectors),
        VectorTower(components, dim + 1, seed),
        WordPieces(("unused",), 1),
        id_dropout=recipe.item_texts.id_dropout,
        seed=seed,
    )
    items.pieces.assign(np.arange(len(vectors) + 1)[:, None])
    encoder = DecayedAverage(recipe.data.max_history, dim, dropout=chosen.dropout, seed=seed)
    student = RetrievalStudent(
        HistoryTower(items, encoder), items, None, chosen.label_smoothing, name="vector_twin"
    )
    student.build_towers()
    validation = ColdValidationNDCG(
        data.splits.validation, data.cold, k=recipe.evaluation.k, student=student
    )
    fit_as_twin(student, recipe, data.splits, validation, name)
    return student


def fit_as_twin(
    student: RetrievalStudent,
    recipe: RetrievalRecipe,
    splits: Splits,
    validation: ValidationCallback,
    description: str,
) -> None:
    """Train a student like the recipe's twin."""
    fit_until_best(
        student,
        splits.train.batches(recipe.training.batch_size, seed=recipe.seed),
        validation,
        learning_rate=recipe.twin.learning_rate,
        weight_decay=recipe.twin.weight_decay,
        max_epochs=recipe.training.max_epochs,
        patience=recipe.training.patience,
        progress=TerminalProgress(),
        description=description,
    )


class LastItems(BlockScorer):
    """Reads the last items of a history alone; no item of the whole history is recommended."""

    def __init__(self, scorer: BlockScorer, number: int) -> None:
        self.scorer, self.number = scorer, number
        self.num_items, self.exclude_seen = scorer.num_items, True
        self.reads_attributes = scorer.reads_attributes

    def _score_items(self, histories: Sequence[np.ndarray], *attributes: np.ndarray) -> np.ndarray:
        read = [history[max(len(history) - self.number, 0) :] for history in histories]
        return self.scorer._score_items(read, *attributes)


def cold_users(recipe: RetrievalRecipe, out: Path) -> str:
    """NDCG by how many of a user's last items are known, as Markdown."""
    data = RetrievalData.load(out / recipe.name / "stages" / "data", recipe)
    queries, k = data.splits.test.answerable(), recipe.evaluation.k
    models: dict[str, BlockScorer] = {
        name: ModelScorer(
            tf.keras.models.load_model(out / recipe.name / "stages" / name / "student.keras")
        )
        for name in ("student", "twin")
    }
    models["popularity"] = popularity(data.splits.train)
    lines = [f"| NDCG@{k} by films known | {' | '.join(map(str, KNOWN))} |"]
    lines.append("|---" * (len(KNOWN) + 1) + "|")
    for name, scorer in models.items():
        values = [evaluate(LastItems(scorer, number), queries, k=k).ndcg.mean() for number in KNOWN]
        lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in values)} |")
    return "\n" + "\n".join(lines)


def new_users(seeds: Sequence[int], *, quick: bool) -> list[Row]:
    """NDCG of cold-start users, by how many of their items are known."""
    recipe = Recipe.named("movielens-100k")
    recipe = recipe.quick() if quick else recipe
    data = td.data.movielens_100k()
    known = read_user_attributes(MOVIELENS_100K.folder()).columns(data.user_ids)
    columns = {name: known[name] for name in ATTRIBUTES}
    of_seeds = [_of_new_users(replace(recipe, seed=seed), data, columns) for seed in seeds]
    ndcg = {
        model: {
            number: np.concatenate([of[model][number] for of in of_seeds]) for number in OF_FIRST
        }
        for model in of_seeds[0]
    }
    lines = [f"| NDCG@10 of new users, seeds {seeds}, by films known | {_cells(OF_FIRST)} |"]
    lines.append("|---" * (len(OF_FIRST) + 1) + "|")
    for model, values in ndcg.items():
        lines.append(f"| {model} | {_cells(f'{values[n].mean():.4f}' for n in OF_FIRST)} |")
    print("\n" + "\n".join(lines))
    found = []
    for number in OF_FIRST:
        for control in (ALONE, NOT_KNOWN, POPULARITY, BY_GROUP):
            paired = metrics.paired_difference(ndcg[WITH][number], ndcg[control][number])
            low, high = paired["interval"]
            found.append(
                row(
                    f"new users, {number} films known: {WITH} / {control}",
                    ndcg[WITH][number].mean() / ndcg[control][number].mean(),
                    "",
                    ">= 1.0",
                    f"difference {paired['difference']:+.4f} ({low:+.4f} to {high:+.4f})",
                )
            )
    return found


def _cells(values: Iterable[object]) -> str:
    return " | ".join(map(str, values))


def _of_new_users(
    recipe: RetrievalRecipe, data: Interactions, columns: dict[str, Sequence[object]]
) -> dict[str, dict[int, np.ndarray]]:
    """One seed's NDCG of each new user, by model and number of films known."""
    draw = np.random.default_rng([recipe.seed, len(ATTRIBUTES)])
    drawn = draw.permutation(data.num_users).astype(np.int32)
    number = round(NEW_USERS * data.num_users)
    new, old = np.sort(drawn[:number]), np.sort(drawn[number:])
    sequences = data.sequences()
    cuts = [int(0.9 * len(sequences[user])) for user in old]
    before = [sequences[user][:cut] for user, cut in zip(old, cuts)]
    after = [sequences[user][cut:] for user, cut in zip(old, cuts)]
    first = [sequences[user][:FIRST] for user in new]
    later = [sequences[user][FIRST:] for user in new]
    vocabulary = td.data.AttributeVocabulary.from_columns(
        {name: [column[user] for user in old] for name, column in columns.items()}
    )
    indices = vocabulary.encode(columns)
    splits = Splits(
        data.name,
        data.catalogue,
        windows_of(before, old, data.catalogue, max_history=recipe.data.max_history),
        Queries(data.catalogue, old, tuple(before), tuple(after)),
        Queries(data.catalogue, new, tuple(first), tuple(later)),
    ).with_user_attributes(indices)
    alone, reading = twins_of_ids(recipe, splits, vocabulary)
    interacted = np.zeros([data.num_users, data.catalogue.num_items + 1])
    for user, items in zip(old, before):
        interacted[user, items] = 1.0
    scorers = {
        ALONE: ModelScorer(alone),
        WITH: ModelScorer(reading),
        POPULARITY: popularity(splits.train),
        BY_GROUP: PopularityByGroup(interacted[old], indices[old]),
    }
    k, test = recipe.evaluation.k, splits.test
    found = {
        name: {n: evaluate(LastItems(scorer, n), test, k=k).ndcg for n in OF_FIRST}
        for name, scorer in scorers.items()
    }
    unknown = replace(test, user_attributes=np.zeros_like(test.user_attributes))
    found[NOT_KNOWN] = {
        n: evaluate(LastItems(scorers[WITH], n), unknown, k=k).ndcg for n in OF_FIRST
    }
    return found


def twins_of_ids(
    recipe: RetrievalRecipe, splits: Splits, vocabulary: td.data.AttributeVocabulary
) -> list[RetrievalStudent]:
    """The id-only twin, and the same one with attributes, fitted after training."""
    chosen, num_items = recipe.twin, splits.catalogue.num_items
    alone, reading = (
        RetrievalStudent.from_history(
            num_items=num_items,
            max_history=recipe.data.max_history,
            embedding_dim=recipe.student.embedding_dim,
            dropout=chosen.dropout,
            label_smoothing=chosen.label_smoothing,
            user_attributes=attributes,
            seed=recipe.seed,
        )
        for attributes in (None, vocabulary)
    )
    validation = td.evaluation.ValidationNDCG(splits.validation, k=recipe.evaluation.k, model=alone)
    fit_as_twin(alone, recipe, splits, validation, ALONE)
    warm_start(reading, alone, range(1, num_items + 1))
    for student in (alone, reading):
        student.fit_empty_history(splits.train.batches(recipe.training.batch_size))
    return [alone, reading]


class PopularityByGroup(BlockScorer):
    """Popularity of an item among users with the same attributes, for each attribute separately.

    Args:
        interacted: 0 or 1 [num_users, num_items + 1].
        attributes: int [num_users, num_attributes], 0 if it is missing.
    """

    def __init__(self, interacted: np.ndarray, attributes: np.ndarray) -> None:
        self.num_items = interacted.shape[1] - 1
        self.exclude_seen = self.reads_attributes = True
        share = (interacted.sum(axis=0) + 0.5) / len(interacted)
        self.log_share, self.effects = np.log(share), []
        for column in attributes.T:
            groups = np.eye(column.max() + 1)[column]
            counts = groups.T @ interacted + AVERAGE_USERS * share
            shares = counts / (groups.sum(axis=0)[:, None] + AVERAGE_USERS)
            self.effects.append(np.log(shares / share) * (np.arange(len(shares)) > 0)[:, None])

    def _score_items(self, histories: Sequence[np.ndarray], attributes: np.ndarray) -> np.ndarray:
        scores = sum(effect[column] for effect, column in zip(self.effects, attributes.T))
        return np.asarray(self.log_share + scores, np.float32)


class Average(BlockScorer):
    """Cosine of an item's vector and the history's, averaged with weights `exp(-age / decay)`."""

    def __init__(self, vectors: np.ndarray, decay: float | None) -> None:
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.vectors = np.pad(vectors / np.maximum(norms, 1e-9), [(1, 0), (0, 0)])
        self.decay, self.num_items, self.exclude_seen = decay, len(vectors), True

    def _score_items(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        queries = []
        for history in histories:
            age = np.arange(len(history))[::-1]
            weights = np.ones(len(history)) if self.decay is None else np.exp(-age / self.decay)
            queries.append(weights @ self.vectors[history])
        return np.asarray(np.stack(queries) @ self.vectors.T, np.float32)


def best_average(choices: Sequence[np.ndarray], data: RetrievalData, k: int) -> Average:
    """The vectors, unchanged or centred, and the decay that are best on validation."""
    scorers = [
        Average(vectors - mean, decay)
        for vectors in choices
        for mean in (0.0, vectors.mean(axis=0))
        for decay in DECAYS
    ]
    validation = data.splits.validation
    return max(scorers, key=lambda scorer: evaluate(scorer, validation, k=k).ndcg.mean())


def popularity_by_genre(data: RetrievalData) -> np.ndarray:
    """The mean over an item's genres of the mean popularity of the known films that have them."""
    counts = np.bincount(data.splits.train.labels.ravel(), minlength=data.catalogue.num_items + 1)
    genres = [set(text.rpartition(". ")[2].split(", ")) for text in data.catalogue.texts]
    known = data.splits.train.existing_items()
    of_genre: dict[str, list[int]] = {}
    for item in known:
        for genre in genres[item - 1]:
            of_genre.setdefault(genre, []).append(counts[item])
    mean = {genre: float(np.mean(values)) for genre, values in of_genre.items()}
    scores = [np.mean([mean.get(genre, 0.0) for genre in of_item]) for of_item in genres]
    return np.array([0.0, *scores], np.float32)


def table(ndcg: Values, seeds: Sequence[int]) -> str:
    """NDCG by model and part of the items, as Markdown."""
    titles = [f"{part} (95 % interval)" for part in PARTS]
    lines = [f"| NDCG@10 among cold items, seeds {seeds} | {' | '.join(titles)} |"]
    lines.append("|---" * (len(PARTS) + 1) + "|")
    for model, by_part in ndcg.items():
        cells = []
        for part in PARTS:
            low, high = metrics.bootstrap_interval(by_part[part])
            cells.append(f"{by_part[part].mean():.4f} ({low:.4f} to {high:.4f})")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def goals(ndcg: Values) -> list[Row]:
    """The student's gain on the best of its controls, by part of the items."""
    found = []
    for part, least in (("described", 1.2), ("undescribed", 1.12)):
        for which, controls in (
            ("best control", CONTROLS),
            ("best control without BERT", ON_DEVICE),
        ):
            there = [name for name in controls if name in ndcg]
            best = max(there, key=lambda name: ndcg[name][part].mean())
            student, control = ndcg["student"][part], ndcg[best][part]
            paired = metrics.paired_difference(student, control)
            low, high = paired["interval"]
            found.append(
                row(
                    f"{part}: student / {which}",
                    student.mean() / control.mean(),
                    "",
                    f">= {least}",
                    f"{best}; difference {paired['difference']:+.4f} ({low:+.4f} to {high:+.4f})",
                )
            )
    for name in (name for name in (*OF_MODEL2VEC, OF_TOKENLEARN) if name in ndcg):
        ours, other = ndcg[OF_PIECES]["undescribed"], ndcg[name]["undescribed"]
        paired = metrics.paired_difference(ours, other)
        low, high = paired["interval"]
        detail = f"difference {paired['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
        ratio = ours.mean() / other.mean()
        found.append(row(f"undescribed: {OF_PIECES} / {name}", ratio, "", ">= 1.0", detail))
    share = ndcg["student"]["described"].mean() / ndcg["teacher"]["described"].mean()
    found.append(row("described: student / teacher", share, "", ">= 0.95", ""))
    return found


def costs(recipe: RetrievalRecipe, out: Path) -> list[Row]:
    """The tower's speed compared with the BERT, both on one core, and its bytes."""
    home = out / recipe.name
    artefact = home / str(recipe.export.version)
    recommender = td.Recommender.load(artefact / "student_int8.tflite")
    texts = list(recommender.artefact.titles)
    pieces = recommender.artefact.word_pieces
    encoder = open_bert(recipe)
    run = open_model(artefact / "student_int8.tflite")

    def by_tower() -> None:
        run("embed_texts", {"pieces": pieces.encode(texts)})

    def by_bert() -> None:
        encoder.encode(texts[:200])

    with one_core():
        seconds = interleaved(by_tower, by_bert)
    per_text = seconds[0] / len(texts), seconds[1] / 200
    detail = f"{1 / per_text[0]:,.0f} titles a second, the BERT {1 / per_text[1]:,.0f}"
    whole = (artefact / "student_int8.tflite").stat().st_size
    alone = bytes_of_ids_alone(recipe, recommender.artefact.num_items)
    return [
        row(
            "titles a second: the tower's / the BERT's",
            per_text[1] / per_text[0],
            "",
            ">= 200",
            detail,
        ),
        row(
            "text tower in 8 bits",
            whole - alone,
            "bytes",
            "<= 300000",
            f"the file {whole:,}, of a student of ids alone {alone:,}",
        ),
    ]


def bytes_of_ids_alone(recipe: RetrievalRecipe, num_items: int) -> int:
    """The 8-bit file of the same student without a text tower."""
    ids = tuple(map(str, range(num_items)))
    student = RetrievalStudent.from_history(
        num_items=num_items,
        max_history=recipe.data.max_history,
        embedding_dim=recipe.student.embedding_dim,
        seed=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        td.export.export_artefact(student, f"{folder}/1", td.data.Catalogue(ids, ids, ids))
        return (Path(folder) / "1" / "student_int8.tflite").stat().st_size


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep the process on one core, if the system supports it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    threads = [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
    for thread in threads:
        os.sched_setaffinity(thread, {min(cores)})
    try:
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)


def interleaved(*functions: Callable[[], None]) -> list[float]:
    """The median seconds of each, taken in turn."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for place, function in enumerate(functions):
            start = time.perf_counter()
            function()
            seconds[place].append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]


if __name__ == "__main__":
    main()
