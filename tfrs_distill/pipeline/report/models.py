"""A report's models: their names, and their metrics of one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfrs_distill.evaluation.metrics import METRICS, Metric
from tfrs_distill.pipeline.report.numbers import MISSING, interval, metric

Report = Mapping[str, Any]
Figure = tuple[float, float, float]  # a value, and the bounds of its interval

# The models with a fixed key, in the order in which they are shown: name and description. Other
# models have `name` and `what` in `models[key]`, as do models of a run that need another
# description.
MODELS = {
    "teacher": ("Teacher", "the student is distilled from it"),
    "cross_encoder": ("Cross-encoder", "reads history and item; ranks the same candidates"),
    "student": ("Student", "distilled from the teacher"),
    "compressed": ("Compressed", "the student in fewer bytes, fine-tuned"),
    "twin": ("Twin", "the same student without the teacher"),
    "plain": ("Plain", "the twin without label smoothing"),
    "self_taught": ("Self-taught", "distilled from cross-fitted copies of the twin"),
    "scrambled": ("Scrambled", "distilled from scrambled teacher probabilities"),
    "retrieval": ("Retrieval alone", "the order of the first stage"),
    "ease": ("EASE", "linear item-item model"),
    "popularity": ("Popularity", "the same ranking for all users"),
    "item_mean": ("Item mean", "the item's mean training label, shrunk to the overall mean"),
    "bias_only": ("Bias only", "item and user biases"),
}


# The models of comparisons that are not named `MODEL_vs_MODEL`.
FORM_PAIRS = {
    "int8_vs_float32": ("student_int8", "student_tflite"),
    "tflite_vs_keras": ("student_tflite", "student"),
}


@dataclass(frozen=True)
class Row:
    """A model of the report.

    Args:
        key: its key in the report.
        name: the name that is shown.
        what: a short description.
        form_of: for an exported form, the key of its model; else empty.
        metrics: of one task, `{"value", "interval"}` by metric.
        cost: `parameters`, `bytes`, `latency_ms`.
    """

    key: str
    name: str
    what: str
    form_of: str
    metrics: Mapping[str, Mapping[str, Any]]
    cost: Mapping[str, Any]

    def value(self, key: str) -> float | None:
        """A metric's value; None if it was not measured."""
        return measured(self.metrics.get(key, {}).get("value"))

    def bounds(self, key: str) -> tuple[float, float] | None:
        """A metric's interval; None if it was not measured."""
        bounds: Any = self.metrics.get(key, {}).get("interval")
        return None if interval(bounds) == MISSING else (bounds[0], bounds[1])

    def figure(self, key: str) -> Figure | None:
        """A metric's value and its bounds; both bounds are the value if none were measured."""
        value = self.value(key)
        return None if value is None else (value, *(self.bounds(key) or (value, value)))

    def latency(self, percentile: str) -> Any:
        """`"p50"` or `"p95"`, in milliseconds."""
        return (self.cost.get("latency_ms") or {}).get(percentile)


def rows(report: Report, task: str) -> list[Row]:
    """The models measured on a task: those of `MODELS` in order, each before its exported forms.

    Other models come last.
    """
    models, order = report["models"], []
    for key in MODELS:
        order += [key] if key in models else []
        order += [form for form in models if models[form].get("form_of") == key]
    order += [key for key in models if key not in order]
    return [
        Row(
            key,
            *names(report, key),
            models[key].get("form_of", ""),
            models[key]["metrics"][task],
            models[key],
        )
        for key in order
        if task in models[key].get("metrics", {})
    ]


def names(report: Report, key: str) -> tuple[str, str]:
    """A model's name and description."""
    name, what = MODELS.get(key, (words(key), ""))
    model = report["models"].get(key, {})
    return model.get("name", name), model.get("what", what)


def figures_of(report: Report, model: str, task: str) -> Mapping[str, Mapping[str, Any]]:
    """A model's `{"value", "interval"}` by metric; empty if it was not measured."""
    figures: Mapping[str, Any] = report["models"].get(model, {}).get("metrics", {}).get(task, {})
    return figures


def seeds_in(report: Report) -> list[int]:
    """The seed of a run, or the seeds of several; empty if the report has none."""
    if report.get("seeds"):
        return list(report["seeds"])
    return [report["seed"]] if "seed" in report else []


def seeds_of(report: Report) -> str:
    """The seed of a run, or the seeds of several, in words.

    Example:
    >>> seeds_of({"seed": 3}), seeds_of({"seed": 0, "seeds": [0, 1]})
    ('seed 3', 'seeds 0, 1')
    """
    seeds: Sequence[object] = seeds_in(report) or [MISSING]
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def words(key: str) -> str:
    """A key of a report as words."""
    return key.replace("_", " ")


def measured(number: Any) -> float | None:
    """The number; None if it is missing or not finite."""
    return None if metric(number) == MISSING else number


def leading_metric(report: Report, task: str) -> str:
    """The key of the metric by which a task is compared."""
    key: str = report.get("tasks", {}).get(task, {}).get("metric", "")
    return key


def metric_of(key: str) -> Metric:
    """The metric by its key in a report.

    Example:
    >>> metric_of("rmse").lower_is_better, metric_of("ndcg@10").name, metric_of("hit_rate@5").name
    (True, 'NDCG@10', 'Hit rate@5')
    """
    name, at, k = key.partition("@")
    known = METRICS.get(name) or Metric(name, name.replace("_", " ").capitalize())
    return Metric(key, known.name + at + k, known.lower_is_better, known.is_share, known.note)
