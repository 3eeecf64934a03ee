"""The trials of the student and of its twin, chosen by Optuna and stored in SQLite."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill import __version__
from tfrs_distill.errors import DivergedError, InputError, MissingExtraError, first_line
from tfrs_distill.files import content_sha256, locked, whole_file, write_json
from tfrs_distill.pipeline.report.numbers import duration, metric
from tfrs_distill.pipeline.run_folder import TUNE
from tfrs_distill.pipeline.search.space import (
    STUDENT,
    TWIN,
    Dimension,
    ImpossibleError,
    Value,
    as_text,
    setting_of,
    space_of,
    with_settings,
)
from tfrs_distill.pipeline.search.trials import train
from tfrs_distill.pipeline.source import source_fingerprint
from tfrs_distill.pipeline.stages.data import PLACES
from tfrs_distill.progress import Progress

STUDY_FILE, RESULT_FILE, PAGE_FILE, BEST_FILE = "study.db", "tune.json", "tune.html", "best.toml"
NUM_STARTUP_TRIALS = 8  # trials after which the sampler uses its model
MIN_EPOCHS = 5  # of a trial before it can be stopped
MADE_FROM, METRIC = "made_from", "metric"  # attributes of a study
FAILED, EPOCH = "failed", "epoch"  # and of a trial


def search(
    recipe: Any, out: Path, num_trials: int, given: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """See `tfrs_distill.pipeline.tune`."""
    if num_trials < 1:
        raise InputError(f"--trials must be at least 1. Received: {num_trials}.")
    space = space_of(recipe, given)
    _optuna(), import_plots()  # otherwise a missing package would be noticed only at the end
    folder = out / recipe.name / TUNE
    with locked(folder / STUDY_FILE, wait=False) as alone:
        if not alone:
            raise InputError(f"Another process searches in {folder}. Wait for it, or name --out.")
        searched = _Search(out, folder / STUDY_FILE, num_trials, progress)
        found, best = {}, recipe
        for name in (STUDENT, TWIN):  # for shared settings the twin has the student's best
            found[name] = searched.run(name, best, space[name])
            searched.num_trials = len(found[name]["trials"])  # an earlier search may have more
            best = with_settings(best, found[name]["trials"][found[name]["best"]]["values"])
        result = {
            "name": recipe.name,
            "task": recipe.task,
            "seed": recipe.seed,
            "num_trials": searched.num_trials,
            "studies": found,
            "recipe": best.as_dict(),
            "version": __version__,
        }
        with whole_file(folder / BEST_FILE, "w") as file:
            file.write(best.to_toml())
        write_json(folder / RESULT_FILE, result)
    return result


def open_study(folder: Path, found: Mapping[str, Any]) -> Any:
    """Return the Optuna study of a student's results."""
    storage = f"sqlite:///{folder / STUDY_FILE}"
    return _optuna().load_study(study_name=found["study"], storage=storage)


def import_plots() -> tuple[Any, Any]:
    """Import Optuna's plots and `pyplot`."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise MissingExtraError("matplotlib", "tune", "A search's plots") from error
    import optuna.visualization.matplotlib

    return optuna.visualization.matplotlib, matplotlib.pyplot


class _Search:
    """The studies of one recipe, in one file.

    Args:
        out: the folder of all runs.
        path: the file.
        num_trials: of each study, including earlier ones.
        progress: receives every trial.
    """

    def __init__(self, out: Path, path: Path, num_trials: int, progress: Progress) -> None:
        self.out, self.path, self.num_trials, self.progress = out, path, num_trials, progress
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.storage = _optuna().storages.RDBStorage(f"sqlite:///{path}")
        except Exception as error:  # from SQLAlchemy, SQLite or Alembic
            raise InputError(
                f"{path} is not a study that this version of Optuna reads: {first_line(error)}. "
                "Remove it to search anew."
            ) from error

    def run(self, name: str, recipe: Any, space: Sequence[Dimension]) -> dict[str, Any]:
        """Run the remaining trials of the student of this name.

        Args:
            name: of the student.
            recipe: all trials have its other settings; its own values are the first trial.
            space: the settings that differ between trials.

        Returns:
            `metric`; `settings`, the searched values of each; `trials`; `best` and `first`, the
            trials with the highest score and with the recipe's own settings.

        Raises:
            InputError: the file has a study of another recipe, or no trial succeeded.
        """
        study = self._study(name, recipe, space)
        while (done := len(_done(study))) < self.num_trials:
            # Seeded by the number of finished trials: a resumed search draws the same values.
            study.sampler = _sampler(recipe.seed, done)
            trial = study.ask()
            values = {dimension.key: dimension.suggest(trial) for dimension in space}
            self.progress.stage(done + 1, self.num_trials, self._title(name, study, values))
            try:
                self._try(study, trial, name, recipe, values)
            except BaseException:
                _give_back(study, trial.number, trial.params)
                raise
        return _found(study, name, recipe, space)

    def _try(
        self, study: Any, trial: Any, name: str, recipe: Any, values: Mapping[str, Value]
    ) -> None:
        """Train with these values, and report the score to the study."""
        pruned, start = _optuna().TrialPruned, time.monotonic()

        def after_epoch(epoch: int, score: float) -> None:
            trial.report(score, epoch)
            if trial.should_prune():
                raise pruned(f"stopped after {epoch} epochs: in the worst quarter by then")

        try:
            changed = with_settings(recipe, values)
            found = train(changed, self.out, name, self.progress, after_epoch)
            if not np.isfinite(found.score):  # Optuna would discard it and try it again forever
                raise DivergedError(f"{found.metric} is {found.score}.")
        except pruned as stop:
            study.tell(trial, state=_states().PRUNED)
            line = str(stop)
        except (DivergedError, ImpossibleError) as error:
            trial.set_user_attr(FAILED, str(error))
            study.tell(trial, state=_states().FAIL)
            line = f"failed: {error}"
        else:
            trial.set_user_attr(EPOCH, found.epoch)
            study.set_user_attr(METRIC, found.metric)
            study.tell(trial, found.score)
            return
        finally:
            tf.keras.backend.clear_session()  # otherwise every trial's graphs stay in memory
        self.progress.done(line, time.monotonic() - start, False)

    def _study(self, name: str, recipe: Any, space: Sequence[Dimension]) -> Any:
        """Return the study in the file, or a new one; a killed trial is tried again."""
        optuna, made_from = _optuna(), _made_from(name, recipe, space)
        of_twin = f"-{content_sha256(made_from)[:8]}"  # it depends on the student's result
        of_study = {
            "study_name": name + of_twin * (name == TWIN),
            "storage": self.storage,
            "direction": "maximize",
            "pruner": optuna.pruners.PercentilePruner(
                75.0, n_startup_trials=NUM_STARTUP_TRIALS // 2, n_warmup_steps=MIN_EPOCHS
            ),
        }
        study = optuna.create_study(**of_study, load_if_exists=True)
        known = study.user_attrs.get(MADE_FROM)
        if known not in (None, made_from):
            if _done(study):
                keys = [
                    key for key in {**known, **made_from} if known.get(key) != made_from.get(key)
                ]
                raise InputError(
                    f"{self.path} holds a search of another recipe or of other values: "
                    f"{', '.join(sorted(keys))}. Trials of both cannot be compared. Remove the "
                    "file to search anew (what was trained is kept), or name another --out."
                )
            optuna.delete_study(study_name=of_study["study_name"], storage=self.storage)
            study, known = optuna.create_study(**of_study), None
        if known is None:
            first = {d.key: d.parameter(setting_of(recipe, d.key)) for d in space}
            if None not in first.values():
                study.enqueue_trial(first)
            study.set_user_attr(MADE_FROM, made_from)
        for trial in study.get_trials(states=[_states().RUNNING]):
            _give_back(study, trial.number, trial.params)
        return study

    def _title(self, name: str, study: Any, values: Mapping[str, Value]) -> str:
        """Return a title: the trial's values, the best so far, and the remaining time."""
        changed = ", ".join(
            f"{key.split('.')[1]} {as_text(value)}" for key, value in values.items()
        )
        done = _done(study)
        scores = [trial.value for trial in done if trial.state == _states().COMPLETE]
        if not scores:
            return f"{name}: {changed}"
        best = f"best so far {metric(max(scores))}"
        # Exclude the first trial's time: it includes the shared stages, or was reused.
        seconds = [trial.duration.total_seconds() for trial in done[1:]]
        if not seconds:
            return f"{name} ({best}): {changed}"
        left = duration(float(np.mean(seconds)) * (self.num_trials - len(done)))
        return f"{name} ({best}, about {left} left): {changed}"


def _made_from(name: str, recipe: Any, space: Sequence[Dimension]) -> dict[str, Any]:
    """Return everything that makes two studies comparable, by setting."""
    sections = recipe.as_dict()
    unread = {"export", "distillation" if name == TWIN else "twin"}
    if recipe.task == "two-stage":
        unread.discard("distillation")  # the first stage uses it, for both
    for section in unread:
        sections.pop(section)
    sections["training"].pop("controls")
    sections["data"] |= dict.fromkeys(PLACES, "") | {"content": source_fingerprint(recipe)}
    flat = {"version": __version__}
    for section, settings in sections.items():
        of_section = settings if isinstance(settings, dict) else {"": settings}
        flat |= {f"{section}.{key}".rstrip("."): value for key, value in of_section.items()}
    flat |= {dimension.key: dimension.words() for dimension in space}
    made_from: dict[str, Any] = json.loads(json.dumps(flat))
    return made_from


def _found(study: Any, name: str, recipe: Any, space: Sequence[Dimension]) -> dict[str, Any]:
    trials: list[dict[str, Any]] = []
    for trial in _done(study):
        seen = trial.intermediate_values.values()
        trials.append(
            {
                "state": trial.state.name.lower(),
                "score": trial.value if trial.value is not None else max(seen, default=None),
                "epoch": trial.user_attrs.get(EPOCH, trial.last_step),
                "seconds": trial.duration.total_seconds(),
                "values": {d.key: d.value(trial.params[d.key]) for d in space},
            }
        )
    complete = [place for place, trial in enumerate(trials) if trial["state"] == "complete"]
    if not complete:
        raise InputError(
            f"None of the {len(trials)} trials of the {name} ended well. The last one: "
            f"{_done(study)[-1].user_attrs.get(FAILED, 'stopped early')} Search lower learning "
            "rates."
        )
    of_recipe = {dimension.key: setting_of(recipe, dimension.key) for dimension in space}
    return {
        "study": study.study_name,
        "metric": study.user_attrs[METRIC],
        "settings": {dimension.key: dimension.words() for dimension in space},
        "trials": trials,
        "best": max(complete, key=lambda place: trials[place]["score"]),
        "first": 0 if trials[0]["values"] == of_recipe else None,
    }


def _done(study: Any) -> list[Any]:
    """Return the trials that need not be tried again."""
    states = _states()
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (states.COMPLETE, states.PRUNED) or FAILED in trial.user_attrs
    ]


def _give_back(study: Any, number: int, values: Mapping[str, Any]) -> None:
    """Queue an interrupted trial again, unless it finished."""
    if not study.trials[number].state.is_finished():
        study.tell(number, state=_states().FAIL)
        study.enqueue_trial(dict(values))


def _sampler(seed: int, done: int) -> Any:
    (state,) = np.random.SeedSequence([seed, done]).generate_state(1)
    return _optuna().samplers.TPESampler(seed=int(state), n_startup_trials=NUM_STARTUP_TRIALS)


def _states() -> Any:
    return _optuna().trial.TrialState


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("optuna", "tune", "A search for settings") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
