"""Arrays in, floats out; and what a report calls each."""

from tfrs_distill.evaluation.metrics.area_under_curve import AUC, GAUC, OverGroups, auc, grouped_auc
from tfrs_distill.evaluation.metrics.bootstrap import (
    bootstrap_interval,
    cluster_bootstrap,
    percentile_interval,
    too_few_to_resample,
)
from tfrs_distill.evaluation.metrics.calibration import (
    ECE,
    Reliability,
    expected_calibration_error,
    reliability,
)
from tfrs_distill.evaluation.metrics.decisions import (
    ACCURACY,
    F1,
    PRECISION,
    PrecisionRecallF1,
    accuracy,
    confusion_matrix,
    precision_recall_f1,
)
from tfrs_distill.evaluation.metrics.list_ndcg import list_ndcg
from tfrs_distill.evaluation.metrics.metric import Metric
from tfrs_distill.evaluation.metrics.pointwise import LOG_LOSS, MAE, RMSE, log_loss, mae, rmse
from tfrs_distill.evaluation.metrics.retrieval import (
    COVERAGE,
    HIT_RATE,
    MRR,
    NDCG,
    OVERLAP,
    RECALL,
    coverage,
    hit_rate,
    hits,
    ndcg,
    overlap,
    recall,
    reciprocal_rank,
)

METRICS = {
    metric.key: metric
    for metric in (
        *(NDCG, RECALL, MRR, HIT_RATE, COVERAGE, OVERLAP),
        *(AUC, GAUC, LOG_LOSS, RMSE, MAE),
        *(ACCURACY, PRECISION, F1, ECE),
    )
}

__all__ = [
    "METRICS",
    "Metric",
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
