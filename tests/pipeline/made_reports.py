"""A report of each recipe, written by hand, with all possible content of such a report."""

import copy

BY_TIME = "Ratings stand in order of time."


def figure(value, half=None):
    """A value, with an interval of `half` on either side if given."""
    return {"value": value, "interval": None if half is None else [value - half, value + half]}


def difference(metric, value, low, high, **others):
    return {"metric": metric, "difference": value, "interval": [low, high], **others}


def form(title):
    """The fields of an exported form of the student."""
    return {"name": f"Student, {title}", "what": "8-bit weights, .tflite", "form_of": "student"}


def latency(p50, p95):
    return {"latency_ms": {"p50": p50, "p95": p95}}


BINS = [
    {"predicted": 0.002, "observed": 0.0, "expected_items": 20.0, "observed_items": 0},
    {"predicted": 0.02, "observed": 0.03, "expected_items": 20.0, "observed_items": 30},
    {"predicted": 0.5, "observed": 0.25, "expected_items": 20.0, "observed_items": 10},
]


def teacher(ndcg, difference=None, calibration=True, items=12.5):
    quality = {
        name: {
            "ndcg@10": value,
            "ndcg@10_interval": None if value is None else [value - 0.01, value + 0.01],
            "recall@10": None if value is None else value / 2,
            "recall@10_interval": None,
        }
        for name, value in (
            ("all", ndcg),
            ("head", ndcg + 0.1),
            ("middle", ndcg),
            ("tail", None),
            ("short", ndcg),
            ("long", ndcg),
        )
    }
    if difference is not None:
        quality["all"]["vs_twin"] = {"difference": difference, "interval": [-0.0015, 0.0225]}
    result = {
        "negative_log_likelihood": 5.4321,
        "expected_calibration_error": 0.123,
        "temperature": 1.25,
        "bins": BINS,
    }
    return {
        "quality": quality,
        "calibration": result if calibration else None,
        "cost": {"items_ms_per_1000": items, "queries_ms_per_1000": 1500.0},
    }


TEACHERS = {
    "k": 10,
    "seed": 0,
    "bootstrap_samples": 1000,
    "queries": 1943,
    "segments": {
        "all": {"what": "all queries", "queries": 1943},
        "head": {"what": "popular items", "queries": 900},
        "middle": {"what": "other items", "queries": 800},
        "tail": {"what": "rare <items>", "queries": 0},
        "short": {"what": "short histories", "queries": 1000},
        "long": {"what": "long histories", "queries": 943},
    },
    "models": {
        "bert": teacher(0.2, 0.0105),
        "<b>ease": teacher(0.15, -0.0395, calibration=False, items=None),
        "twin": teacher(0.1895),
    },
    "agreement": {
        "names": ["bert", "<b>ease", "twin"],
        "overlap@10": [[1.0, 0.25, 0.5], [0.25, 1.0, 0.125], [0.5, 0.125, 1.0]],
        "rank_correlation": [[1.0, 0.75, None], [0.75, 1.0, None], [None, None, None]],
    },
}


def by_segment(all_users, women, men):
    """A model's metrics by segment; the tail has no query."""
    against = {"difference": women - men, "interval": [women - men - 0.03, women - men + 0.03]}
    return {
        "all": figure(all_users, 0.01),
        "gender: F": figure(women, 0.02) | {"against_others": against},
        "gender: M": figure(men, 0.02),
    }


GAIN = {"interval": [0.004, 0.028], "ratio": 1.1, "p": 0.01, "gained": 0.31, "lost": 0.25}
SEGMENTS = {
    "metric": "ndcg@10",
    "segments": {
        "all": {"what": "all queries", "queries": 943, "attribute": ""},
        "tail": {"what": "rare items", "queries": 0, "attribute": ""},
        "gender: F": {"what": "users whose gender is F", "queries": 273, "attribute": "gender"},
        "gender: M": {"what": "users whose gender is M", "queries": 70, "attribute": "gender"},
    },
    "models": {"twin": by_segment(0.18, 0.17, 0.184), "student": by_segment(0.196, 0.16, 0.21)},
    "comparisons": [
        {
            "models": ["student", "twin"],
            "segments": {
                "all": GAIN | {"difference": 0.016},
                "gender: F": GAIN | {"difference": -0.01},
                "gender: M": GAIN | {"difference": 0.026},
            },
        }
    ],
}


def of_items(ndcg, low, high, **cost):
    """A model of the task `next_item`."""
    ndcgs = {"ndcg@10": {"value": ndcg, "interval": [low, high]}, "recall@10": figure(ndcg / 2)}
    return {"metrics": {"next_item": ndcgs}, **cost}


RETRIEVAL = {
    "name": "films",
    "task": "retrieval",
    "seed": 3,
    "k": 10,
    "recipe": {"name": "films", "evaluation": {"k": 10, "bootstrap_samples": 250}},
    "protocol": {
        "split": BY_TIME,
        "models": "Every model ranked the whole catalogue.",
        "twin": "same model, same data",
    },
    "rows_are": "query",
    "tasks": {"next_item": {"metric": "ndcg@10", "what": "The items that come next."}},
    "models": {
        "popularity": of_items(0.07, 0.06, 0.08),
        "teacher": of_items(0.2, 0.18, 0.22, bytes=90_000_000, parameters=22_700_000),
        "student": of_items(0.196, 0.176, 0.216, bytes=60_000, parameters=15_146),
        "twin": of_items(0.18, 0.16, 0.2, bytes=60_000),
        "student_int8": of_items(
            0.195, 0.175, 0.215, bytes=24_600, **latency(0.0634, 0.1), **form("int8")
        ),
    },
    "comparisons": {
        "student_vs_twin": {
            "next_item": difference("ndcg@10", 0.016, 0.004, 0.028, seeds=[0, 1, 2], ratio=1.0889)
        },
        "student_vs_teacher": {"next_item": {"metric": "ndcg@10", "ratio": 0.98}},
    },
    "training": {
        "teacher": {"loss": [3.0, 2.0], "validation_ndcg@10": [0.1, 0.2]},
        "student": {"loss": [3.0, 2.0, 1.0], "validation_ndcg@10": [0.05, 0.25, 0.15]},
    },
    "resampled": {"what": "test users", "number": 943, "too_few": False},
    "teachers": TEACHERS,
    "segments": SEGMENTS,
    "data": {"users": 943, "items": 1682, "interactions": 100_000},
    "stages": {"data": {"seconds": 2.04}, "teacher": {"seconds": 61.0}},
    "versions": {"tensorflow": "2.21.0"},
}


def of_like(auc, ece=None):
    figures = {"auc": figure(auc, 0.01), "log_loss": figure(0.6)}
    return figures | ({} if ece is None else {"expected_calibration_error": figure(ece)})


def of_rating(rmse):
    return {"rmse": figure(rmse, 0.01), "mae": figure(0.7)}


RANKING = {
    "name": "films",
    "task": "ranking",
    "seed": 4,
    "k": 10,
    "recipe": {"name": "films", "evaluation": {"k": 10, "bootstrap_samples": 250}},
    "protocol": {
        "split": BY_TIME,
        "models": "Every model answered the same test rows.",
        "twin": "same model, same labels",
        "score": "The mean over the tasks",
    },
    "rows_are": "row",
    "tasks": {
        "like": {"metric": "auc", "what": "A rating of 4 or 5."},
        "rating": {"metric": "rmse", "what": "The rating, 1 to 5."},
    },
    "models": {
        "item_mean": {"metrics": {"like": of_like(0.7)}},
        "twin": {
            "metrics": {"like": of_like(0.75), "rating": of_rating(0.95)},
            "bytes": 40_000,
            "parameters": 9_000,
        },
        "teacher": {
            "metrics": {"like": of_like(0.8, 0.0123), "rating": of_rating(0.9)},
            "bytes": 2_000_000,
            "parameters": 400_000,
        },
        "student": {
            "metrics": {"like": of_like(0.79, 0.0345), "rating": of_rating(0.93)},
            "bytes": 40_000,
            "parameters": 9_000,
        },
        "student_int8": {
            "metrics": {"like": of_like(0.785)},
            "bytes": 12_500,
            **latency(0.031, 0.05),
            **form("int8"),
        },
        "twin_of_like": {
            "metrics": {"like": of_like(0.76)},
            "bytes": 39_000,
            "name": "Twin of like",
            "what": "this task alone",
        },
    },
    "comparisons": {
        "student_vs_twin": {
            "like": difference("auc", 0.04, 0.03, 0.05, seeds=[4]),
            "rating": difference("rmse", -0.02, -0.03, -0.01, seeds=[4]),
        },
        "student_vs_teacher": {"like": difference("auc", -0.01, -0.02, -0.001, kept=0.9)},
    },
    "resampled": {"what": "test users", "number": 943, "too_few": False},
    "confusion": {"like": {"student": [[30, 10], [5, 155]]}},
    "reliability": {
        "like": {
            "teacher": [{"predicted": 0.5, "observed": 0.4, "rows": 7}],
            "student": [
                {"predicted": 0.25, "observed": 0.5, "rows": 1200},
                {"predicted": 1.0, "observed": 0.75, "rows": 4},
            ],
        }
    },
    "training": {
        "teacher": {"loss": [1.0, 0.9], "validation_score": [0.4, 0.5]},
        "student": {"loss": [1.0, 0.8, 0.7], "validation_score": [0.3, 0.45, 0.44]},
    },
    "data": {"users": 943, "items": 1682, "rows": 100_000},
    "stages": {"data": {"seconds": 2.0}, "teacher": {"seconds": 60.0}},
    "versions": {"tensorflow": "2.21.0"},
}


def many_tasks(rating_low, rating_high):
    report = copy.deepcopy(RANKING) | {"task": "multitask"}
    report["comparisons"]["student_vs_single_task_twin"] = {
        "like": difference("auc", 0.03, 0.02, 0.04),
        "rating": difference("rmse", (rating_low + rating_high) / 2, rating_low, rating_high),
    }
    return report


def of_reviews():
    report = copy.deepcopy(RANKING) | {"data": {"items": 50, "rows": 90}}
    report["tasks"] = {"recommended": report["tasks"]["like"]}
    for part in (*report["comparisons"].values(), report["confusion"], report["reliability"]):
        part["recommended"] = part.pop("like")
        part.pop("rating", None)
    for result in report["models"].values():
        result["metrics"] = {"recommended": result["metrics"]["like"]}
    report["resampled"] = {"what": "test rows", "number": 9, "too_few": True}
    return report


def stages():
    models = {
        name: {
            "metrics": {"relevance": {"ndcg@10": figure(value, 0.0)}},
            **latency(milliseconds, milliseconds),
        }
        for name, value, milliseconds in (
            ("student", 0.22, 1.5),
            ("retrieval", 0.2, 0.5),
            ("teacher", 0.26, 910.0),
            ("cross_encoder", 0.25, 900.0),
            ("twin", 0.21, 1.5),
        )
    }
    models["student"] |= {"name": "Two stages", "what": "retrieval, then ranking"}
    report = copy.deepcopy(RANKING) | {
        "task": "two-stage",
        "rows_are": "query",
        "tasks": {"relevance": {"metric": "ndcg@10", "what": "The best 10 of 100."}},
        "models": models,
        "comparisons": {
            name: {"relevance": difference("ndcg@10", value, low, high, ratio=ratio)}
            for name, value, low, high, ratio in (
                ("student_vs_twin", 0.01, 0.001, 0.02, 1.05),
                ("student_vs_retrieval", 0.02, 0.01, 0.03, 1.1),
                ("student_vs_teacher", -0.04, -0.06, -0.02, 0.85),
                ("student_vs_cross_encoder", -0.03, -0.05, -0.01, 0.88),
            )
        },
    }
    del report["confusion"], report["reliability"]
    return report


REPORTS = {
    "retrieval": RETRIEVAL,
    "ranking": RANKING,
    "reviews": of_reviews(),
    "multitask": many_tasks(0.01, 0.03),
    "two-stage": stages(),
}


def changed(path, value, report=RETRIEVAL):
    """A report with another value at a path, `/` between its keys."""
    report = copy.deepcopy(report)
    *parents, last = path.split("/")
    inner = report
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return report


def without(path, report=RANKING):
    """A report without the value at a path."""
    report = changed(path, None, report)
    *parents, last = path.split("/")
    inner = report
    for key in parents:
        inner = inner[key]
    del inner[last]
    return report
