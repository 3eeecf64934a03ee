"""Arrays in, floats out."""

from tfrs_distill.evaluation.metrics.area_under_curve import OverGroups, auc, grouped_auc
from tfrs_distill.evaluation.metrics.bootstrap import (
    bootstrap_interval,
    cluster_bootstrap,
    percentile_interval,
    too_few_to_resample,
)
from tfrs_distill.evaluation.metrics.calibration import (
    Reliability,
    expected_calibration_error,
    reliability,
)
from tfrs_distill.evaluation.metrics.decisions import (
    PrecisionRecallF1,
    accuracy,
    confusion_matrix,
    precision_recall_f1,
)
from tfrs_distill.evaluation.metrics.list_ndcg import list_ndcg
from tfrs_distill.evaluation.metrics.pointwise import log_loss, mae, rmse
from tfrs_distill.evaluation.metrics.retrieval import (
    coverage,
    hit_rate,
    hits,
    ndcg,
    overlap,
    recall,
    reciprocal_rank,
)

__all__ = [
    "OverGroups",
    "PrecisionRecallF1",
    "Reliability",
    "accuracy",
    "auc",
    "bootstrap_interval",
    "cluster_bootstrap",
    "confusion_matrix",
    "coverage",
    "expected_calibration_error",
    "grouped_auc",
    "hit_rate",
    "hits",
    "list_ndcg",
    "log_loss",
    "mae",
    "ndcg",
    "overlap",
    "percentile_interval",
    "precision_recall_f1",
    "recall",
    "reciprocal_rank",
    "reliability",
    "rmse",
    "too_few_to_resample",
]
