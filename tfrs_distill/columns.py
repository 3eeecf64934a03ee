"""The names of a batch's columns, once.

A batch is a dict of tensors whose keys are these constants. Item ids inside a batch are *item
indices*: int32, 1 to `num_items`, 0 for padding; `Catalogue` translates them to the ids and titles
that people know.
"""

from __future__ import annotations

EXAMPLE_ID = "example_id"  # int64 [batch_size]: row of the training windows
USER_ID = "user_id"  # int32 [batch_size]
HISTORY = "history"  # int32 [batch_size, max_history]: item indices, oldest first, 0 = padding
LABELS = "labels"  # int32 [batch_size, max_history]: the item that follows each position, 0 = none;
# or float32 [batch_size, max_history, num_items]: a distribution over items, all 0 = none
HISTORY_RATINGS = "history_ratings"  # float32 [batch_size, max_history]: 0 where padding or none
SAMPLE_WEIGHT = "sample_weight"  # float32 [batch_size] or [batch_size, max_history]
INPUTS = "inputs"  # what a plain Keras classifier is called with

NEGATIVES = "negatives"  # [batch_size, num_negatives]: candidates beside the batch's own
CANDIDATE_SAMPLING_PROBABILITY = (
    "candidate_sampling_probability"  # float32 as LABELS: how often the label is drawn
)
NEGATIVES_SAMPLING_PROBABILITY = (
    "negatives_sampling_probability"  # float32 [batch_size, num_negatives]
)
SCORE_MASK = "score_mask"  # bool [batch_size, (max_history,) num_candidates], true = a candidate

TEACHER_FOLD = "teacher_fold"  # int32 [batch_size]: which fold's teacher speaks for the example
TEACHER_QUERY_EMBEDDINGS = (
    "teacher_query_embeddings"  # float [batch_size, max_history, teacher_dim]
)
TEACHER_QUERY_SCALES = (
    "teacher_query_scales"  # float32 [batch_size, max_history]: what 8-bit embeddings are times of
)
TEACHER_TOP_K_IDS = "teacher_top_k_ids"  # uint16 or int32 [batch_size, max_history, k]
TEACHER_TOP_K_LOGITS = "teacher_top_k_logits"  # float [batch_size, max_history, k]
TEACHER_TAIL = "teacher_tail"  # float [batch_size, max_history, num_temperatures]

ITEM_ID = "item_id"  # int32 [num_rows]: the item that a ranking row is about
QUERY_ID = "query_id"  # int32 [num_rows]: rows of one candidate list share it

PADDING = 0  # the item index that stands for "no item"


def label(task: str) -> str:
    """The column of a ranking task's labels: float32 [num_rows], NaN = none.

    Example:
    >>> label("like")
    'label/like'
    """
    return f"label/{task}"


def teacher_logits(task: str) -> str:
    """The column of what a teacher says for a task: float32 [num_rows, width], NaN = nothing.

    Example:
    >>> teacher_logits("like")
    'teacher_logits/like'
    """
    return f"teacher_logits/{task}"
