"""Folders of finished runs, written by hand, for `tfrs-distill compare`."""

import json

import numpy as np
from tiny_data import tiny_catalogue

from tfrs_distill.data.splits import Queries
from tfrs_distill.evaluation.segments import segment_figures
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.report.lists import RecommendedLists

MODELS = ("teacher", "twin", "plain", "student", "student_tflite", "student_int8")
PAIRS = ("student_vs_twin", "student_vs_teacher", "student_vs_plain", "int8_vs_float32")
LISTED = ("teacher", "twin", "student")
USERS = 40
SEGMENTS = {"all": slice(None), "tail": slice(0, 3), "gender: F": slice(10, 20)}
NUM_ITEMS, K = 30, 3


def values_of(seed, lift=0.0):
    """NDCG by model, float [num_users], that differs between seeds."""
    random = np.random.default_rng(seed)
    better = {"teacher": 0.3, "student": 0.2 + lift, "student_tflite": 0.2, "student_int8": 0.19}
    return {name: random.random(USERS) / 2 + better.get(name, 0.0) for name in MODELS}


def lists_of(seed, users):
    """Lists of some models for users u0, u1, ..., with 3 earlier and 3 relevant items each."""
    random = np.random.default_rng(seed)
    items = np.stack([np.random.default_rng(user).permutation(NUM_ITEMS) + 1 for user in users])
    queries = Queries(tiny_catalogue(NUM_ITEMS), users, tuple(items[:, :3]), tuple(items[:, 3:6]))
    item_ids = {
        name: np.stack([random.permutation(NUM_ITEMS)[:K] + 1 for _ in users]) for name in LISTED
    }
    return RecommendedLists.of(queries, [f"u{user}" for user in range(max(users) + 1)], item_ids)


def of_run(folder, recipe, seed, task, tasks, ndcg, pairs):
    """A report of a run: metrics of models by task, and its comparisons."""
    return {
        "name": folder.name,
        "task": task,
        "seed": seed,
        "k": 10,
        "recipe": recipe.as_dict() | {"seed": seed, "name": folder.name},
        "rows_are": "query",
        "tasks": tasks,
        "data": {"users": USERS, "reading": ["Columns."]},
        "training": {"student": {"loss": [1.0]}},
        "lists": {"rule": "drawn", "metric": "ndcg@10", "users": []},
        "resampled": {"what": "test users", "number": USERS, "too_few": True},
        "models": {
            name: {
                "metrics": {
                    of_task: {result["metric"]: {"value": figures[of_task], "interval": [0.0, 1.0]}}
                    | {"recall@10": {"value": 0.1 * seed, "interval": None}}
                    for of_task, result in tasks.items()
                    if of_task in figures
                },
                "parameters": 10,
                "bytes": 100 + seed,
                "latency_ms": {"p50": 1.0 + seed, "p95": 2.0},
            }
            for name, figures in ndcg.items()
        },
        "comparisons": {
            name: {
                of_task: {
                    "metric": result["metric"],
                    "seeds": [seed],
                    "difference": 0.0,
                    "interval": [0.0, 0.0],
                    **({"identical_lists": 0.9 - 0.1 * seed} if name == PAIRS[-1] else {}),
                }
                for of_task, result in tasks.items()
            }
            for name in pairs
        },
    }


def write_run(folder, seed, *, lift=0.0, users=None, **settings):
    """A run of lists; `settings` are of its recipe's `[distillation]`."""
    recipe = Recipe.named("movielens-100k")
    ndcg = values_of(seed, lift)
    users = np.arange(USERS) if users is None else users
    report = of_run(
        folder,
        recipe,
        seed,
        "retrieval",
        {"next_item": {"metric": "ndcg@10", "what": "the next item"}},
        {name: {"next_item": float(values.mean())} for name, values in ndcg.items()},
        PAIRS,
    )
    report["recipe"]["distillation"] |= settings
    report["recipe"]["training"] |= {"controls": ["plain"] * seed}  # they do not define a setting
    parts = {
        segment: {
            "what": f"those of {segment}",
            "queries": len(ndcg["twin"][rows]),
            "attribute": "gender" if ":" in segment else "",
        }
        for segment, rows in SEGMENTS.items()
    }
    of_listed = {
        name: {segment: ndcg[name][rows] for segment, rows in SEGMENTS.items()} for name in LISTED
    }
    report["segments"] = segment_figures(
        parts, of_listed, [("student", "twin")], "ndcg@10", num_samples=100
    )
    evaluated = write_report(folder, report)
    lengths = np.arange(USERS) + 5
    by_segment = {
        f"segments/{segment}/{name}": values[rows]
        for segment, rows in SEGMENTS.items()
        for name, values in ndcg.items()
    }
    np.savez(evaluated / "ndcg.npz", **ndcg, **by_segment, users=users, history_lengths=lengths)
    lists = lists_of(seed, users)
    lists.save(evaluated, users)
    catalogue = dict.fromkeys(("item_ids", "titles", "texts"), lists.titles[1:])
    ids = [f"u{user}" for user in range(max(users) + 1)]
    (folder / "stages" / "data").mkdir()
    (folder / "stages" / "data" / "tables.json").write_text(json.dumps(["tiny", ids, catalogue]))
    return folder


def rows_of(seed, lift=0.0):
    """Labels by task, and predictions by model and task, of 4 rows of each of 10 users."""
    labels = {"like": np.random.default_rng(100).integers(0, 2, USERS).astype(float)}
    labels["rating"] = np.where(np.arange(USERS) % 8 == 0, np.nan, 1.0 + 3 * labels["like"])
    random = np.random.default_rng(seed)
    models = {}
    for name, noise in (("teacher", 0.2), ("twin", 0.7), ("student", 0.4 - lift)):
        far = noise * random.random(USERS)
        models[name] = {
            "like": np.abs(labels["like"] - 1.4 * far),  # above 1/2 is wrong
            "rating": np.nan_to_num(labels["rating"]) + 3 * far,
        }
    return labels, models


def write_rows_run(folder, seed, *, lift=0.0, drawn_by_seed=False, **settings):
    """A run of the tasks like and rating; `settings` are of its recipe's `[distillation]`."""
    labels, models = rows_of(seed, lift)
    tasks = {"like": {"metric": "auc", "what": "."}, "rating": {"metric": "rmse", "what": "."}}
    figures = {name: dict.fromkeys(tasks, 0.5) for name in models}
    pairs = ("student_vs_twin", "student_vs_teacher")
    recipe = Recipe.named("ranking")
    report = of_run(folder, recipe, seed, "ranking", tasks, figures, pairs)
    report["recipe"]["distillation"] |= settings
    report["resampled"] |= {"drawn_by_seed": drawn_by_seed}
    evaluated = write_report(folder, report)
    users = np.repeat(np.arange(USERS // 4), 4) + (100 * seed if drawn_by_seed else 0)
    arrays = {f"labels/{task}": values for task, values in labels.items()}
    for name, of_model in models.items():
        arrays |= {f"{name}/{task}": values for task, values in of_model.items()}
    np.savez(evaluated / "predictions.npz", **arrays, users=users)
    return folder


def write_report(folder, report):
    """Write a run's `report.json`; the folder of its evaluate stage."""
    evaluated = folder / "stages" / "evaluate"
    evaluated.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))
    return evaluated
