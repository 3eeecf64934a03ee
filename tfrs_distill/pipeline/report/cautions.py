"""The limits of a report's results that its reader should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfrs_distill.pipeline.recipe.sections import GLOBAL_TIME, RANDOM, SHUFFLED
from tfrs_distill.pipeline.report.models import seeds_in
from tfrs_distill.pipeline.report.numbers import MISSING, counted, percent

WITHOUT_TIME = (
    "The split does not use time: items of each user were held out at random, so the models did "
    "not predict the future."
)


def cautions(report: Mapping[str, Any]) -> list[str]:
    """Sentences that the verdict ends with; empty if there is nothing to warn about.

    `resampled` of the report says what its intervals are over (`what`, `number`, and whether that
    is `too_few`); `seed` or `seeds` which trainings were compared. `data.repeats` is a sentence
    about repeated interactions with the same items. A random split (`data.split.kind`) does not
    predict the future.

    Example:
    >>> cautions({"resampled": {"what": "test users", "number": 9, "too_few": True}})
    ['Only 9 test users: bootstrap intervals over so few are too narrow; this may be chance.']
    """
    resampled = report.get("resampled", {})
    data = report.get("data", {})
    found = [
        WITHOUT_TIME if (data.get("split") or {}).get("kind") == RANDOM else "",
        few(resampled["number"], resampled["what"]) if resampled.get("too_few") else "",
        few_seeds(seeds_in(report)),
        data.get("repeats", ""),
    ]
    return [sentence for sentence in found if sentence]


def few(number: int, things: str, thing: str = "") -> str:
    """A warning that too few were resampled; `thing` as for `counted`."""
    return (
        f"Only {counted(number, things, thing)}: bootstrap intervals over so few are too narrow; "
        "this may be chance."
    )


def few_seeds(seeds: Sequence[int]) -> str:
    """A warning that too few trainings were compared; empty for three or more, or none.

    Example:
    >>> few_seeds([0])  # doctest: +NORMALIZE_WHITESPACE
    'One seed: the interval does not include the variation between trainings; compare at least
    three runs with `tfrs-distill compare`.'
    """
    if not 0 < len(seeds) < 3:
        return ""
    includes = "One seed: the interval does not include", "Two seeds: the interval hardly includes"
    return (
        f"{includes[len(seeds) - 1]} the variation between trainings; compare at least three runs "
        "with `tfrs-distill compare`."
    )


def limits_of_split(report: Mapping[str, Any]) -> str:
    """The limits of the split, with the run's own values; empty if they are not available.

    Example:
    >>> split = {"train_after_test": 0.4, "tests_cut_in_one_time": 0.5}
    >>> limits_of_split({"data": {"split": split}})  # doctest: +NORMALIZE_WHITESPACE
    "The split is by user, not by date: for the median user, 40.0 % of the training rows are from
    other users and later than the start of that user's test part. In 50.0 % of the test parts the
    first row has the same timestamp as the row before it; there the order of the file decides."
    """
    split = report.get("data", {}).get("split") or {}
    if split.get("kind") == RANDOM:
        return (
            "The split does not use time: a user's test items are a random part of the user's "
            "items, so the models may be trained on later interactions of this and other users. Do "
            "not compare these results with those of a split by time."
        )
    later, cut = (percent(split.get(key)) for key in ("train_after_test", "tests_cut_in_one_time"))
    if MISSING in (later, cut):
        return ""
    share = split.get("tests_without_history") or 0.0
    untested = (
        f" {percent(share)} of the users in the test part have no history before it and are not "
        "tested."
        if share
        else ""
    )
    if split.get("kind") == GLOBAL_TIME:
        return (
            "The split is at one time for all users: no training row is later than the start of "
            f"the test part.{untested}"
        )
    decides = "chance" if split.get("ties") == SHUFFLED else "the order of the file"
    return (
        f"The split is by user, not by date: for the median user, {later} of the training rows are "
        f"from other users and later than the start of that user's test part. In {cut} of the test "
        "parts the first row has the same timestamp as the row before it; there "
        f"{decides} decides.{untested}"
    )
