"""The metrics of a ranking report: what people call them, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

from tfrs_distill.pipeline.report.numbers import NOISE


@dataclass(frozen=True)
class Metric:
    """A metric's name for people, and whether less of it is better."""

    name: str
    lower_is_better: bool = False

    def gain(self, difference: float) -> float:
        """A difference of two figures as a gain: positive where the first is better."""
        return -difference if self.lower_is_better else difference

    def share_of_gain(self, base: float, teacher: float, student: float) -> float | None:
        """How much of the teacher's gain on a base the student has; None without such a gain.

        Below 0 where the student is worse than the base, above 1 where it is better than the
        teacher.

        Example:
        >>> rmse = Metric("RMSE", lower_is_better=True)
        >>> round(rmse.share_of_gain(1.0, 0.8, 0.9), 3), rmse.share_of_gain(1.0, 1.1, 0.9)
        (0.5, None)
        """
        gain = self.gain(teacher - base)
        return self.gain(student - base) / gain if gain > NOISE else None


METRICS = {
    "auc": Metric("AUC"),
    "gauc": Metric("GAUC"),
    "log_loss": Metric("Log loss", lower_is_better=True),
    "rmse": Metric("RMSE", lower_is_better=True),
    "mae": Metric("MAE", lower_is_better=True),
    "accuracy": Metric("Accuracy"),
    "precision": Metric("Precision"),
    "recall": Metric("Recall"),
    "f1": Metric("F1"),
    "expected_calibration_error": Metric("ECE", lower_is_better=True),
}

ACRONYMS = ("ndcg", "mrr")


def metric_of(key: str) -> Metric:
    """The metric by its key in a report.

    Example:
    >>> metric_of("rmse").lower_is_better, metric_of("ndcg@10").name, metric_of("hit_rate@5").name
    (True, 'NDCG@10', 'Hit rate@5')
    """
    name, at, k = key.partition("@")
    shown = name.upper() if name in ACRONYMS else name.replace("_", " ").capitalize()
    return METRICS.get(key, Metric(shown + at + k))
