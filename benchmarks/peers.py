"""How good are other recommenders on the same data, with as many trials?

    python benchmarks/peers.py [--quick] [--recipe movielens-100k] [--seeds 0 1 2] [--trials 9]
        [--peers NAME ...] [--out DIR] [--json FILE]

Every peer uses the split, the histories and the metric code of the recipe, and the same number of
trials of its settings, which are chosen by NDCG on validation with the first seed; each peer is
evaluated on test once, with the chosen settings. Each library that cannot be installed together
with TensorFlow runs in its own environment, made below DIR with `venv` and `pip` and reused if it
exists; `peers/exchange.py` defines the inputs and outputs of its processes. Every trial is a stage:
trials on disk are not run again. Our own models are read from the runs that
`benchmarks/retrieval.py` wrote to DIR for the same seeds. Intervals are 95 % bootstrap intervals
over users of the NDCG averaged over the seeds, paired for a difference.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tfrs_distill as td  # before TensorFlow: it selects Keras 2
from tfrs_distill.data.splits import Queries, Splits, pad_histories
from tfrs_distill.evaluation import Scorer, evaluate, metrics
from tfrs_distill.evaluation.baselines import HistoryScorer
from tfrs_distill.evaluation.latency import percentiles
from tfrs_distill.evaluation.retrieval import Evaluation
from tfrs_distill.files import content_sha256, file_sha256, whole_file
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.report.numbers import duration
from tfrs_distill.pipeline.source import read_data
from tfrs_distill.pipeline.stage import Result, Stage, Stages
from tfrs_distill.pipeline.tasks import NEXT_ITEM
from tfrs_distill.pipeline.terminal import TerminalProgress
from tfrs_distill.progress import Progress

from rows import Row, publish, row  # isort: skip
from session_peers import VSKNN, SequentialRules, training_sequences  # isort: skip

SCRIPTS = Path(__file__).parent / "peers"
TORCH = "torch==2.13.0"
ENVIRONMENTS = {  # what pip installs
    "implicit": ("implicit==0.7.3",),
    "rectools": ("rectools[torch]==0.19.0", TORCH),
    "recbole": (
        "recbole==1.2.1",
        TORCH,
        "numpy<2",  # it uses names that NumPy 2 removed
        "pandas<3",
        "scipy<1.13",
        "setuptools<81",
    ),
    "model2vec": ("model2vec[distill,quantization]==0.10.0", TORCH),  # of `transfer.py`
    "tokenlearn": ("tokenlearn-static-model==0.1.1", "numpy"),  # of `transfer.py`
    "ranx": ("ranx==0.3.21",),  # metrics alone: tests compare this package's with them
}
PARTS = ("validation", "test")
LATENCY_QUERIES = 200
QUICK_TRIALS, QUICK_EPOCHS = 2, 2
MODELS = ("teacher", "twin", "student")  # of a run, shown first; then its other models


@dataclass(frozen=True)
class Peer:
    """A model to compare with.

    Args:
        space: by setting, the values that are tried. The first of each are tried first: the
            defaults of the library, the paper or the tutorial.
        quick: settings that make it small for a smoke test.
        make: `make(train, **settings)` makes its scorer in this process.
        script: of `benchmarks/peers/`, if one trains it in its own process.
        environment: of `ENVIRONMENTS`, whose Python runs the script; this Python if empty.
        has_epochs: whether it is evaluated on validation after every epoch, with early stopping.
        is_drawn: whether training is random, so that every seed is trained.
    """

    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[..., Scorer] | None = None
    script: str = ""
    environment: str = ""
    has_epochs: bool = False
    is_drawn: bool = False

    def trials(self, number: int) -> list[dict[str, Any]]:
        """The first settings of the space and others drawn from it, all different."""
        every = [
            dict(zip(self.space, values)) for values in itertools.product(*self.space.values())
        ]
        drawn = np.random.default_rng(0).permutation(np.arange(1, len(every)))
        return [every[place] for place in [0, *drawn][:number]]


DECAYS = (8.0, 4.0, 6.0, 16.0)  # items
PEERS = {
    "popularity": Peer(make=td.popularity),
    "EASE": Peer({"l2": (300.0, 50.0, 100.0, 200.0, 500.0, 700.0, 1e3, 2e3, 4e3)}, make=td.EASE),
    "EASE, decayed": Peer(
        {"l2": (300.0, 500.0, 1e3, 2e3, 4e3), "decay": DECAYS},
        make=td.EASE,
    ),
    "sequential rules": Peer(
        {"window": (10, 20, 50), "decay": (1.0, *DECAYS), "normalisation": (1.0, 0.5, 0.0)},
        make=SequentialRules,
    ),
    "V-SKNN": Peer(
        {"neighbours": (100, 50, 200, 400), "decay": (*DECAYS, 32.0), "rarity": (0.0, 0.5, 1.0)},
        make=VSKNN,
    ),
    "ridge to the next item": Peer(
        {"l2": (3e3, 1e3, 1e4, 3e4), "decay": (16.0, 8.0, 32.0)},
        make=lambda train, **settings: HistoryScorer(
            td.teachers.NextItemRidgeTeacher(train, **settings)
        ),
    ),
    "ALS": Peer(
        {
            "embedding_dim": (100, 64, 128, 256),
            "l2": (10.0, 1.0, 20.0, 50.0),
            "confidence": (1.0, 4.0, 8.0),
            "decay": (None, 6.0, *DECAYS),
        },
        make=lambda train, **settings: HistoryScorer(td.teachers.ALSTeacher(train, **settings)),
    ),
    "BPR": Peer(
        {
            "factors": (100, 32, 64, 128),
            "learning_rate": (0.01, 0.03, 0.1),
            "regularization": (0.01, 0.003, 0.03, 0.1),
            "iterations": (100, 50, 200),
        },
        script="implicit_models.py",
        environment="implicit",
        is_drawn=True,
    ),
    "item-kNN": Peer(
        {
            "similarity": ("cosine", "TF-IDF", "BM25"),
            "neighbours": (20, 50, 100, 200),
            "decay": (None, *DECAYS),
        },
        script="implicit_models.py",
        environment="implicit",
    ),
    "TFRS tutorial": Peer(
        {
            "dim": (32, 16, 64),
            "learning_rate": (0.1, 0.05, 0.2, 0.5),
            "batch_size": (8192, 1024, 4096),
        },
        script="tfrs_two_tower.py",
        has_epochs=True,
        is_drawn=True,
    ),
    "SASRec": Peer(
        {
            "loss": ("softmax", "sampled_softmax", "gBCE"),
            "n_factors": (64, 32, 128),
            "n_blocks": (2, 1),
            "dropout_rate": (0.2, 0.4),
            "lr": (0.001, 0.003),
        },
        quick={"n_factors": 16, "n_blocks": 1},
        script="rectools_models.py",
        environment="rectools",
        has_epochs=True,
        is_drawn=True,
    ),
    "BERT4Rec": Peer(
        {
            "n_factors": (64, 32, 128),
            "n_blocks": (2, 1),
            "dropout_rate": (0.2, 0.4),
            "lr": (0.001, 0.003),
            "mask_prob": (0.15, 0.3),
        },
        quick={"n_factors": 16, "n_blocks": 1},
        script="rectools_models.py",
        environment="rectools",
        has_epochs=True,
        is_drawn=True,
    ),
    "GRU4Rec": Peer(
        {
            "hidden_size": (128, 64),
            "embedding_size": (64, 32, 128),
            "dropout_prob": (0.3, 0.1, 0.5),
            "learning_rate": (0.001, 0.003),
            "MAX_ITEM_LIST_LENGTH": (50, 20),
        },
        quick={"MAX_ITEM_LIST_LENGTH": 5, "hidden_size": 32, "embedding_size": 32},
        script="recbole_gru4rec.py",
        environment="recbole",
        has_epochs=True,
        is_drawn=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few trials, as a smoke test")
    parser.add_argument("--recipe", default="movielens-100k", help="whose data and protocol")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=9, help="settings tried for each peer")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--out", type=Path, default=Path("saved_models/benchmarks"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.trials < 1:
        parser.error(f"--trials must be at least 1. Received: {arguments.trials}.")

    recipe, seeds, num_trials = Recipe.named(arguments.recipe), arguments.seeds, arguments.trials
    if arguments.quick:
        recipe, seeds, num_trials = recipe.quick(), seeds[:1], QUICK_TRIALS
    pythons = {
        name: environment(name, arguments.out / "environments")
        for name in dict.fromkeys(PEERS[peer].environment for peer in arguments.peers)
    }
    splits = read_data(recipe).splits
    bench = Bench(
        arguments.out / f"{recipe.name}-peers",
        splits,
        recipe.evaluation.k,
        seeds,
        num_trials,
        QUICK_EPOCHS if arguments.quick else recipe.training.max_epochs,
        recipe.training.patience,
        arguments.quick,
        pythons,
        TerminalProgress(),
    )
    found = bench.run(arguments.peers)
    own = our_models(arguments.out, recipe.name, seeds, recipe.evaluation.k)
    print(table(found | own, seeds, recipe.evaluation.k))
    missing = [name for name in MODELS if name not in own]
    if missing:
        print(
            f"\nNot there: {', '.join(missing)}, {recipe.name}, seeds "
            f"{' '.join(map(str, seeds))}. benchmarks/retrieval.py makes them, with the same --out."
        )
    publish(figures(found, own, recipe.evaluation.k), arguments.json)


def environment(name: str, home: Path) -> Path:
    """The Python of a peer's environment, which is made if it is missing or incomplete."""
    if not name:
        return Path(sys.executable)
    folder, wanted = home / name, "\n".join(ENVIRONMENTS[name])
    python, note = folder / "bin" / "python", folder / "installed.txt"
    if note.exists() and note.read_text(encoding="utf-8") == wanted:
        return python
    start = time.monotonic()
    print(f"pip install {' '.join(ENVIRONMENTS[name])}, below {folder}", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    pip = [str(python.absolute()), "-m", "pip", "install", "--quiet", "--no-compile"]
    command = [*pip, *ENVIRONMENTS[name]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"The environment of {name} could not be made; leave out what needs it, peers with "
            f"--peers. pip wrote:\n{done.stderr[-2000:]}"
        )
    with whole_file(note, "w") as file:
        file.write(wanted)
    print(f"      done ({duration(time.monotonic() - start)})", flush=True)
    return python


@dataclass(frozen=True)
class Measured:
    """A model in the comparison.

    Args:
        ndcg: of the test queries, averaged over the seeds.
        by_seed: its mean of each seed.
        validation: NDCG, averaged over the seeds; None if it is missing.
        recall: likewise, on test.
        facts: `parameters`, `bytes`, `minutes`, `milliseconds`; None if missing.
        detail: the settings.
    """

    ndcg: np.ndarray
    by_seed: list[float]
    validation: float | None
    recall: float | None
    facts: dict[str, float | None]
    detail: str


@dataclass(frozen=True)
class Bench:
    """The trials of the peers on one split.

    Args:
        home: the folder of the stages.
        splits: the data.
        k: of the metrics.
        seeds: the first is used for the search; the others train the chosen settings.
        num_trials: of each peer; fewer if its space is smaller.
        max_epochs: of a peer that has epochs.
        patience: epochs without a better validation NDCG before stopping.
        quick: whether the peers are made small.
        pythons: by environment.
        progress: shows the stages.
    """

    home: Path
    splits: Splits
    k: int
    seeds: list[int]
    num_trials: int
    max_epochs: int
    patience: int
    quick: bool
    pythons: dict[str, Path]
    progress: Progress

    def run(self, names: Sequence[str]) -> dict[str, Measured]:
        """Search every peer's settings, train it with the chosen ones, and evaluate it on test."""
        self.home.mkdir(parents=True, exist_ok=True)
        with whole_file(self.data_file) as file:
            np.savez(file, **exchanged(self.splits))
        stages = Stages(self.home, self.seeds[0], self.progress)
        planned = [stage for name in names for stage in self._stages(name, stages)]
        stages.run(shown_time_left(planned))
        return {name: self._measured(name, stages) for name in names}

    @property
    def data_file(self) -> Path:
        """The input of the processes."""
        return self.home / "data.npz"

    def _stages(self, name: str, stages: Stages) -> list[Stage]:
        """A stage per trial, and one for each other seed with the chosen settings."""
        peer = PEERS[name]
        trials = [
            settings | (peer.quick if self.quick else {})
            for settings in peer.trials(self.num_trials)
        ]
        planned = [
            self._stage(name, f"{folder_name(name)}-trial-{number}", lambda s=settings: s, seed)
            for seed in self.seeds[:1]
            for number, settings in enumerate(trials)
        ]
        tried = tuple(stage.name for stage in planned)
        for seed in self.seeds[1:] if peer.is_drawn else []:
            chosen = lambda: stages.results[best_of(tried, stages)]["settings"]  # noqa: E731
            stage = self._stage(name, f"{folder_name(name)}-seed-{seed}", chosen, seed)
            planned.append(replace(stage, after=tried))
        return planned

    def _stage(
        self, name: str, stage: str, settings: Callable[[], dict[str, Any]], seed: int
    ) -> Stage:
        peer = PEERS[name]
        max_epochs = self.max_epochs if peer.has_epochs else 1

        def inputs() -> Any:
            made = ENVIRONMENTS.get(peer.environment, ())
            scripts = [SCRIPTS / peer.script, SCRIPTS / "exchange.py"] if peer.script else []
            codes = [code_sha256(path) for path in scripts or [Path(__file__).parent / OWN]]
            data = file_sha256(self.data_file)
            return [settings(), seed, self.k, max_epochs, self.patience, made, codes, data]

        def work(folder: Path) -> tuple[Result, str]:
            if peer.script:
                facts = self._in_a_process(name, settings(), seed, max_epochs, folder)
            else:
                facts = self._in_this_process(peer, settings(), folder)
            facts |= {"settings": settings(), "validation": self._ndcg("validation", folder)}
            return facts, f"{settings() or 'no settings'}, validation {facts['validation']:.4f}"

        return Stage(stage, work, inputs)

    def _in_this_process(self, peer: Peer, settings: dict[str, Any], folder: Path) -> Result:
        assert peer.make is not None
        start = time.perf_counter()
        scorer = peer.make(self.splits.train, **settings)
        minutes = (time.perf_counter() - start) / 60
        lists = {part: scorer(self._queries(part).histories, self.k)[1] for part in PARTS}
        with whole_file(folder / "lists.npz") as file:
            np.savez(file, **lists)
        parameters = getattr(scorer, "num_parameters", self.splits.catalogue.num_items)
        timed = percentiles(scorer, self.splits.test.histories[:LATENCY_QUERIES])
        return {
            "parameters": parameters,
            "bytes": 4 * parameters,
            "minutes": minutes,
            "milliseconds": timed["p50"],
        }

    def _in_a_process(
        self, name: str, settings: dict[str, Any], seed: int, max_epochs: int, folder: Path
    ) -> Result:
        """Train a peer with its script, with early stopping on validation."""
        peer, latest, request = PEERS[name], folder / ".latest.npz", folder / "request.json"
        given = {
            "model": name,
            "settings": settings,
            "seed": seed,
            "max_epochs": max_epochs,
            "k": self.k,
            "data": str(self.data_file.absolute()),
            "lists": str(latest.absolute()),
        }
        with whole_file(request, "w") as file:
            json.dump(given, file)
        python = self.pythons[peer.environment].absolute()
        command = [str(python), str((SCRIPTS / peer.script).absolute()), str(request.absolute())]
        best, facts = -1.0, {"epoch": 0, "seconds": 0.0}
        with (
            open(folder / ".log", "w", encoding="utf-8") as log,
            tempfile.TemporaryDirectory() as elsewhere,  # RecBole writes to its working folder
            self.progress.bar(name, max_epochs) as advance,
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=elsewhere,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            ) as process,
        ):
            assert process.stdin is not None and process.stdout is not None
            try:
                for line in process.stdout:
                    facts |= json.loads(line)
                    if "milliseconds" in facts:
                        break
                    ndcg, epoch = self._ndcg("validation", folder, latest.name), facts["epoch"]
                    if ndcg > best:
                        best, best_epoch = ndcg, epoch
                        os.replace(latest, folder / "lists.npz")
                    go_on = epoch < max_epochs and epoch < best_epoch + self.patience
                    advance(note=f"epoch {epoch}  validation NDCG@{self.k} {ndcg:.4f}")
                    process.stdin.write("on\n" if go_on else "stop\n")
                    process.stdin.flush()
            except BaseException:
                process.kill()
                raise
        if process.returncode or "milliseconds" not in facts:
            written = (folder / ".log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{name} with {settings} failed: {written[-3000:]}")
        latest.unlink(missing_ok=True)
        minutes = facts.pop("seconds") / 60
        return facts | {"minutes": minutes, "best_epoch": best_epoch}

    def _measured(self, name: str, stages: Stages) -> Measured:
        """The test result of a peer with the settings that are best on validation."""
        peer, start = PEERS[name], folder_name(name)
        best = best_of([stage for stage in stages.results if is_trial(stage, start)], stages)
        trained = [best]
        if peer.is_drawn:
            trained += [f"{start}-seed-{seed}" for seed in self.seeds[1:]]
        results = [stages.results[stage] for stage in trained]
        found = [self._evaluation("test", self.home / stage) for stage in trained]
        facts = {key: results[0][key] for key in ("parameters", "bytes", "milliseconds")}
        minutes = float(np.mean([result["minutes"] for result in results]))
        epochs = [result["best_epoch"] for result in results if peer.has_epochs]
        settings = ", ".join(f"{key} {value}" for key, value in results[0]["settings"].items())
        return Measured(
            np.mean([one.ndcg for one in found], axis=0),
            [float(one.ndcg.mean()) for one in found],
            float(np.mean([result["validation"] for result in results])),
            float(np.mean([one.values["recall"].mean() for one in found])),
            facts | {"minutes": minutes},
            settings + (f", best epoch {', '.join(map(str, epochs))}" if epochs else ""),
        )

    def _queries(self, part: str) -> Queries:
        queries: Queries = getattr(self.splits, part)
        return queries

    def _ndcg(self, part: str, folder: Path, name: str = "lists.npz") -> float:
        return float(self._evaluation(part, folder, name).ndcg.mean())

    def _evaluation(self, part: str, folder: Path, name: str = "lists.npz") -> Evaluation:
        with np.load(folder / name) as lists:
            item_ids = lists[part]
        scores = np.zeros(item_ids.shape, np.float32)
        return evaluate(lambda histories, k: (scores, item_ids), self._queries(part), k=self.k)


OWN = "session_peers.py"  # peers that are implemented here, outside the package


def exchanged(splits: Splits) -> dict[str, np.ndarray]:
    """The input of a peer's process, see `peers/exchange.py`; it has no positives."""
    train = training_sequences(splits.train)
    row_of = {user: row for row, user in enumerate(train)}
    arrays = {
        "num_items": np.array(splits.catalogue.num_items),
        "exclude_seen": np.array(splits.catalogue.exclude_seen),
        "train": pad_histories(list(train.values())),
    }
    for part in PARTS:
        queries: Queries = getattr(splits, part)
        arrays[f"{part}_users"] = np.array([row_of.get(int(u), -1) for u in queries.users])
        arrays[f"{part}_histories"] = pad_histories(queries.histories)
    return arrays


def code_sha256(path: Path) -> str:
    """The checksum of a script without comments and docstrings: rewording these trains nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return content_sha256(ast.unparse(tree))


def folder_name(peer: str) -> str:
    return peer.lower().replace(",", "").replace(" ", "-")


def is_trial(stage: str, start: str) -> bool:
    return stage.rpartition("-trial-")[0] == start


def best_of(tried: Sequence[str], stages: Stages) -> str:
    """The trial that is best on validation; the first if several are equal."""
    return max(tried, key=lambda name: stages.results[name]["validation"])


def shown_time_left(planned: list[Stage]) -> list[Stage]:
    """The stages, whose lines estimate the remaining time from that of the previous ones."""
    taken: dict[str, list[float]] = {}

    def timed(stage: Stage, later: Sequence[Stage], folder: Path) -> tuple[Result, str]:
        start = time.monotonic()
        result, line = stage.work(folder)
        taken.setdefault(_peer_of(stage), []).append(time.monotonic() - start)
        of_all = float(np.mean([np.mean(seconds) for seconds in taken.values()]))
        left = sum(float(np.mean(taken.get(_peer_of(other), [of_all]))) for other in later)
        return result, f"{line}; about {duration(left)} left" if later else line

    return [
        replace(stage, work=partial(timed, stage, planned[number + 1 :]))
        for number, stage in enumerate(planned)
    ]


def _peer_of(stage: Stage) -> str:
    return stage.name.rsplit("-", 2)[0]


def our_models(out: Path, recipe: str, seeds: Sequence[int], k: int) -> dict[str, Measured]:
    """Teacher, twin, student, controls and files of the runs in `out`, if all seeds have one."""
    homes = [out / f"{recipe}-seed-{seed}" for seed in seeds]
    found: dict[str, Measured] = {}
    if all((home / "report.json").exists() for home in homes):
        reports = [json.loads((home / "report.json").read_text()) for home in homes]
        ndcg = [dict(np.load(home / "stages" / "evaluate" / "ndcg.npz")) for home in homes]
        names = [name for name in reports[0]["models"] if name not in ("ease", "popularity")]
        for name in sorted(names, key=lambda name: (name not in MODELS, names.index(name))):
            found[name] = _of_reports(name, reports, [arrays[name] for arrays in ndcg], k)
    return found


def _of_reports(
    name: str, reports: list[dict[str, Any]], ndcg: list[np.ndarray], k: int
) -> Measured:
    models = [report["models"][name] for report in reports]
    curves = [report["training"].get(name, {}).get(f"validation_ndcg@{k}") for report in reports]
    recalls = [model["metrics"][NEXT_ITEM][f"recall@{k}"]["value"] for model in models]
    seconds = [report["stages"].get(name, {}).get("seconds") for report in reports]
    return Measured(
        np.mean(ndcg, axis=0),
        [float(values.mean()) for values in ndcg],
        float(np.mean([max(curve) for curve in curves])) if all(curves) else None,
        float(np.mean(recalls)),
        {
            "parameters": models[0]["parameters"],
            "bytes": models[0]["bytes"],
            "minutes": float(np.mean(seconds)) / 60 if all(seconds) else None,
            "milliseconds": float(np.median([model["latency_ms"]["p50"] for model in models])),
        },
        "",
    )


def table(models: Mapping[str, Measured], seeds: Sequence[int], k: int) -> str:
    """The comparison as Markdown, sorted by the test metric."""
    lines = [
        f"\n| model | NDCG@{k} validation | NDCG@{k} test (95 % interval) | by seed "
        f"{', '.join(map(str, seeds))} | Recall@{k} | parameters | bytes | training minutes | "
        "ms p50 | settings |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, model in sorted(models.items(), key=lambda pair: -pair[1].ndcg.mean()):
        low, high = metrics.bootstrap_interval(model.ndcg)
        cells = [
            name,
            shown(model.validation, ".4f"),
            f"{model.ndcg.mean():.4f} ({low:.4f} to {high:.4f})",
            ", ".join(f"{value:.4f}" for value in model.by_seed),
            shown(model.recall, ".4f"),
            shown(model.facts["parameters"], ",.0f"),
            shown(model.facts["bytes"], ",.0f"),
            shown(model.facts["minutes"], ".3f"),
            shown(model.facts["milliseconds"], ".3f"),
            model.detail,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def figures(found: Mapping[str, Measured], own: Mapping[str, Measured], k: int) -> list[Row]:
    """Every model's NDCG, and the student compared with the best peer if its runs exist."""
    rows = []
    for name, model in (*found.items(), *own.items()):
        low, high = metrics.bootstrap_interval(model.ndcg)
        facts = [f"{key} {value:,.4g}" for key, value in model.facts.items() if value is not None]
        parts = [
            f"95 % interval {low:.4f} to {high:.4f}",
            f"by seed {', '.join(f'{value:.4f}' for value in model.by_seed)}",
            f"validation {shown(model.validation, '.4f') or 'not kept'}",
            f"recall@{k} {shown(model.recall, '.4f') or 'not kept'}",
            *facts,
            model.detail,
        ]
        detail = "; ".join(part for part in parts if part)
        rows.append(row(f"{name}_ndcg", float(model.ndcg.mean()), f"NDCG@{k}", "", detail))
    if "student" in own and found:
        best = max(found, key=lambda name: float(found[name].ndcg.mean()))
        student, other = own["student"].ndcg, found[best].ndcg
        low, high = metrics.bootstrap_interval(student - other)
        detail = (
            f"{best}, the best of them on test: difference {(student - other).mean():.4f}, 95 % "
            f"interval {low:.4f} to {high:.4f}"
        )
        ratio = float(student.mean() / other.mean())
        rows.append(row("student_ndcg_over_best_peer", ratio, "ratio", ">= 1", detail))
    return rows


if __name__ == "__main__":
    main()
