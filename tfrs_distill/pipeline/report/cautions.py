"""What a reader of a report should know before believing its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_distill.pipeline.recipe.sections import GLOBAL_TIME, RANDOM, SHUFFLED
from tfrs_distill.pipeline.report.numbers import MISSING, counted, percent

WITHOUT_TIME = (
    "The split is without time: items of each user were held back by chance, so no future was "
    "predicted."
)


def cautions(report: Mapping[str, Any]) -> list[str]:
    """Sentences that the verdict ends with; none where nothing is amiss.

    The run says what its intervals are over (`resampled`: `what`, `number` and whether that is
    `too_few`), and in a sentence of its own where people come back to the same items
    (`data.repeats`). A split without time (`data.split.kind`) predicts no future.

    Example:
    >>> cautions({"resampled": {"what": "test users", "number": 9, "too_few": True}})
    ['Only 9 test users: an interval by bootstrap of so few is too narrow, so this may be chance.']
    """
    resampled = report.get("resampled", {})
    data = report.get("data", {})
    found = [
        WITHOUT_TIME if (data.get("split") or {}).get("kind") == RANDOM else "",
        few(resampled["number"], resampled["what"]) if resampled.get("too_few") else "",
        data.get("repeats", ""),
    ]
    return [sentence for sentence in found if sentence]


def few(number: int, things: str, thing: str = "") -> str:
    """That so few were resampled; `thing` as for `counted`."""
    return (
        f"Only {counted(number, things, thing)}: an interval by bootstrap of so few is too narrow, "
        "so this may be chance."
    )


def limits_of_split(report: Mapping[str, Any]) -> str:
    """What a split leaves open, by the run's own figures; empty without.

    Example:
    >>> split = {"train_after_test": 0.4, "tests_cut_in_one_time": 0.5}
    >>> limits_of_split({"data": {"split": split}})  # doctest: +NORMALIZE_WHITESPACE
    "The split is by user, not by date: for the median user, 40.0 % of the training rows are of
    other users and later than the beginning of that user's test. 50.0 % of the tests begin at the
    same time stamp as the row before them, where the order of the file decides."
    """
    split = report.get("data", {}).get("split") or {}
    if split.get("kind") == RANDOM:
        return (
            "The split is without time: a user's test items are a random part of all, so what the "
            "user and others did later may train the models. Its figures are not to be compared "
            "with those of a split in order of time."
        )
    later, cut = (percent(split.get(key)) for key in ("train_after_test", "tests_cut_in_one_time"))
    if MISSING in (later, cut):
        return ""
    share = split.get("tests_without_history") or 0.0
    untested = (
        f" {percent(share)} of the users with something in the test part have no history before it "
        "and are not tested."
        if share
        else ""
    )
    if split.get("kind") == GLOBAL_TIME:
        return (
            "The split is by one time for all users: no training row is later than the beginning "
            f"of the test.{untested}"
        )
    decides = "chance" if split.get("ties") == SHUFFLED else "the order of the file"
    return (
        f"The split is by user, not by date: for the median user, {later} of the training rows are "
        f"of other users and later than the beginning of that user's test. {cut} of the tests "
        f"begin at the same time stamp as the row before them, where {decides} decides.{untested}"
    )
