"""Metrics on arrays, one topic per file, and the metrics that a report shows.

To add one, add a function and its `Metric` in a file here, and its name in `LIST_METRICS` (computed
for each query of an `Evaluation` from its lists) or `ROW_METRICS` (computed for each task of a
`RankingEvaluation`).
"""

from tfrs_distill.evaluation.metrics.area_under_curve import AUC, GAUC, OverGroups, auc, grouped_auc
from tfrs_distill.evaluation.metrics.bootstrap import (
    bootstrap_interval,
    cluster_bootstrap,
    percentile_interval,
    resample_runs,
    too_few_to_resample,
)
from tfrs_distill.evaluation.metrics.decisions import (
    ACCURACY,
    F1,
    PRECISION,
    RECALL_OF_POSITIVES,
    PrecisionRecallF1,
    accuracy,
    confusion_matrix,
    precision_recall_f1,
)
from tfrs_distill.evaluation.metrics.independent import independent_difference
from tfrs_distill.evaluation.metrics.intra_list_diversity import DIVERSITY, intra_list_diversity
from tfrs_distill.evaluation.metrics.list_ndcg import NDCG_OF_LISTS, list_ndcg
from tfrs_distill.evaluation.metrics.metric import Metric, PredictedRows
from tfrs_distill.evaluation.metrics.paired import paired_difference, permutation_p
from tfrs_distill.evaluation.metrics.pointwise import LOG_LOSS, MAE, RMSE, log_loss, mae, rmse
from tfrs_distill.evaluation.metrics.popularity import (
    NOVELTY,
    POPULARITY,
    POPULARITY_LIFT,
    novelty,
    popularity_lift,
    recommended_popularity,
)
from tfrs_distill.evaluation.metrics.recommended_lists import (
    COVERAGE,
    GINI,
    HIT_RATE,
    LIST_PRECISION,
    MAP,
    MRR,
    NDCG,
    OVERLAP,
    RECALL,
    average_precision,
    coverage,
    gini,
    hit_rate,
    hits,
    ndcg,
    overlap,
    precision,
    recall,
    reciprocal_rank,
)
from tfrs_distill.evaluation.metrics.reliability import (
    ECE,
    Reliability,
    expected_calibration_error,
    reliability,
)

LIST_METRICS = (NDCG, RECALL, MRR, HIT_RATE, MAP, LIST_PRECISION)
ROW_METRICS = (
    *(RMSE, MAE, AUC, GAUC),
    *(LOG_LOSS, ACCURACY, PRECISION, RECALL_OF_POSITIVES, F1, ECE, NDCG_OF_LISTS),
)
OF_WHOLE_LISTS = (COVERAGE, GINI, OVERLAP, NOVELTY, POPULARITY_LIFT, DIVERSITY, POPULARITY)
METRICS = {metric.key: metric for metric in (*LIST_METRICS, *OF_WHOLE_LISTS, *ROW_METRICS)}

__all__ = [
    "PredictedRows",
    "LIST_METRICS",
    "METRICS",
    "Metric",
    "OF_WHOLE_LISTS",
    "OverGroups",
    "PrecisionRecallF1",
    "ROW_METRICS",
    "Reliability",
    "accuracy",
    "auc",
    "average_precision",
    "bootstrap_interval",
    "cluster_bootstrap",
    "confusion_matrix",
    "coverage",
    "expected_calibration_error",
    "gini",
    "grouped_auc",
    "hit_rate",
    "hits",
    "independent_difference",
    "intra_list_diversity",
    "list_ndcg",
    "log_loss",
    "mae",
    "ndcg",
    "novelty",
    "overlap",
    "paired_difference",
    "percentile_interval",
    "permutation_p",
    "popularity_lift",
    "precision",
    "precision_recall_f1",
    "recall",
    "reciprocal_rank",
    "recommended_popularity",
    "reliability",
    "resample_runs",
    "rmse",
    "too_few_to_resample",
]
