"""One trial of a search: the stages of a run that are needed to train one student."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrs_distill.pipeline.run_folder import Run
from tfrs_distill.pipeline.stage import Stage
from tfrs_distill.pipeline.stages import stages_of
from tfrs_distill.progress import Advance, Progress


@dataclass(frozen=True)
class Trained:
    """The result of a trial.

    Args:
        score: on validation, of the best epoch.
        metric: its name, such as "validation_ndcg@10".
        epoch: the best one, counted from 1.
    """

    score: float
    metric: str
    epoch: int


def train(
    recipe: Any,
    out: Path,
    name: str,
    progress: Progress,
    after_epoch: Callable[[int, float], None],
) -> Trained:
    """Train the student of this name, and the models it depends on if they do not exist.

    Args:
        recipe: with the trial's settings.
        out: the folder of all runs.
        name: of the student's stage.
        progress: receives the stages that are run.
        after_epoch: gets the student's score on validation; an exception ends the trial.
    """
    run = Run(recipe, out, TrialProgress(progress), after_epoch=after_epoch)
    run.stages.run(_needed(stages_of(run), name))
    curves = run.result(name)["curves"]
    (metric,) = (key for key in curves if key.startswith("validation_"))
    return Trained(max(curves[metric]), metric, curves["best_epoch"])


def _needed(stages: list[Stage], name: str) -> list[Stage]:
    """Return the stage of this name and all stages on which it depends."""
    needed = {name}
    for stage in reversed(stages):
        if stage.name in needed:
            needed.update(stage.after)
    return [stage for stage in stages if stage.name in needed]


class TrialProgress:
    """Reports a trial's work, except reused stages.

    Args:
        progress: the search's.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def stage(self, number: int, total: int, name: str) -> None:
        """Do nothing: the trial has been announced."""

    def bar(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """Return the search's bar."""
        return self.progress.bar(description, total)

    def done(self, line: str, seconds: float, reused: bool) -> None:
        """Report the finished stage, unless it was reused."""
        if not reused:
            self.progress.done(line, seconds, reused)
