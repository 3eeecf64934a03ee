"""The settings of a recipe that a search changes, and their ranges."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe.settings import Rule, rule_of
from tfrs_distill.pipeline.run_folder import TEMPERATURES

STUDENT, TWIN = "student", "twin"
FIXED = ("data", "evaluation", "export")  # sections that determine what is measured
BUDGET = ("training.max_epochs", "training.patience", "training.controls")
LEARNING = {
    "learning_rate": "0.0003:0.03:log",
    "dropout": "0:0.6",
    "label_smoothing": "0:0.9",
    "weight_decay": "0,0.001,0.01,0.1",
}
DEFAULTS = {  # of the sections that only student or twin reads
    **{f"distillation.{name}": text for name, text in LEARNING.items()},
    "distillation.temperature": ",".join(map(str, TEMPERATURES)),
    "distillation.student_loss_weight": "0:1",
    **{f"twin.{name}": text for name, text in LEARNING.items()},
}
Value = int | float | str | bool | tuple[str, ...]


class ImpossibleError(InputError):
    """Settings that a recipe cannot combine."""


@dataclass(frozen=True)
class Dimension:
    """The values that a search may try for one setting: a range, or choices.

    Args:
        key: the setting, such as "distillation.temperature".
        low, high: the ends of a range, both included.
        log: whether the range is searched on a logarithmic scale.
        choices: given instead of a range.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()

    def suggest(self, trial: Any) -> Value:
        """Return the value of an Optuna trial."""
        if self.choices:
            return self.value(trial.suggest_categorical(self.key, self._texts))
        if isinstance(self.low, int):
            return int(trial.suggest_int(self.key, self.low, self.high, log=self.log))
        return float(trial.suggest_float(self.key, self.low, self.high, log=self.log))

    def value(self, parameter: Any) -> Value:
        """Convert a trial's parameter to the setting's value."""
        if self.choices:
            return self.choices[self._texts.index(parameter)]
        number: Value = parameter
        return number

    def parameter(self, value: Value) -> Any:
        """Convert the setting's value to a trial's parameter; None if it is not in the range."""
        if self.choices:
            return self._texts[self.choices.index(value)] if value in self.choices else None
        assert isinstance(value, (int, float))
        return value if self.low <= value <= self.high else None

    @property
    def _texts(self) -> list[str]:
        """All digits of a number, so that two similar numbers stay distinct."""
        return [repr(one) if isinstance(one, float) else as_text(one) for one in self.choices]

    def words(self) -> str:
        """The values, for display and to distinguish searches."""
        if self.choices:
            return ", ".join(map(as_text, self.choices))
        return f"{self.low:g} to {self.high:g}" + " by its logarithm" * self.log


def space_of(recipe: Any, given: Sequence[str] = ()) -> dict[str, list[Dimension]]:
    """Return the search space of the student and, with the shared settings found, of the twin.

    Args:
        recipe: the recipe whose settings are searched.
        given: `KEY=LOW:HIGH`, `KEY=LOW:HIGH:log` or `KEY=A,B,C` (several names in one choice:
            `A+B`): replaces the default range of this setting, or adds a setting.
            `KEY=VALUE` alone fixes it.

    Raises:
        InputError: a setting does not exist, must not be searched, or cannot have these values.
    """
    texts = {key: text for key, text in DEFAULTS.items() if _rule(recipe, key) is not None}
    for entry in given:
        key, equals, text = entry.partition("=")
        if not (key and equals and text):
            raise InputError(
                "--search is KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=A,B,C, such as "
                f"distillation.dropout=0:0.3. Received: {entry!r}."
            )
        texts[key] = text
    found: dict[str, list[Dimension]] = {STUDENT: [], TWIN: []}
    for key, text in texts.items():
        found[TWIN if key.startswith("twin.") else STUDENT].append(_dimension(recipe, key, text))
    return found


def with_settings(recipe: Any, values: Mapping[str, Value]) -> Any:
    """Return the recipe with these settings, by their keys.

    Raises:
        ImpossibleError: the combination breaks a rule of the recipe.
    """
    sections: dict[str, dict[str, Value]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    try:
        changed = {
            name: replace(getattr(recipe, name), **changes) for name, changes in sections.items()
        }
        return replace(recipe, **changed)
    except InputError as error:
        raise ImpossibleError(str(error)) from error


def setting_of(recipe: Any, key: str) -> Value:
    """Return a setting's value."""
    section, name = key.split(".")
    value: Value = getattr(getattr(recipe, section), name)
    return value


def as_text(value: Value) -> str:
    """Return a setting's value on one line.

    Example:
    >>> as_text(("two-tower", "item-item")), as_text(True), as_text(0.25)
    ('two-tower+item-item', 'true', '0.25')
    """
    if isinstance(value, tuple):
        return "+".join(value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rule(recipe: Any, key: str) -> Rule | None:
    section, _, name = key.partition(".")
    settings = getattr(recipe, section, None)
    known = {} if settings is None or isinstance(settings, (str, int)) else _rules(settings)
    return known.get(name)


def _rules(section: Any) -> dict[str, Rule]:
    found = {field.name: rule_of(field) for field in fields(section)}
    return {name: rule for name, rule in found.items() if rule is not None}


def _dimension(recipe: Any, key: str, text: str) -> Dimension:
    """Parse the dimension of `KEY=text`, and check each value against the recipe's rules."""
    rule = _rule(recipe, key)
    if rule is None:
        sections = [field.name for field in fields(recipe) if rule_of(field) is None]
        known = [f"{name}.{inner}" for name in sections for inner in _rules(getattr(recipe, name))]
        near = difflib.get_close_matches(key, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(
            f"--search names a setting as SECTION.NAME. Received: {key!r}, which a recipe with "
            f'`task` "{recipe.task}" does not have.{hint}'
        )
    if key.split(".")[0] in FIXED or key in BUDGET:
        raise InputError(
            f"{key} determines what is measured or how long a model is trained, so metrics of its "
            "values cannot be compared. Set it in the recipe."
        )
    dimension = _parsed(key, text, rule)
    for value in dimension.choices or (dimension.low, dimension.high):
        if not rule.holds(value):
            raise InputError(f"{key} must be {rule.words()}. Received: {key}={text}.")
    return dimension


def _parsed(key: str, text: str, rule: Rule) -> Dimension:
    parts = text.split(":")
    is_number = rule.kind in (int, float)
    try:
        if is_number and len(parts) in (2, 3):
            if parts[2:] not in ([], ["log"]):
                raise ValueError
            low, high = map(rule.kind, parts[:2])
            log = len(parts) == 3
            if low >= high or (log and low <= 0):
                raise ValueError
            return Dimension(key, low, high, log)
        choices = tuple(_value(part, rule) for part in text.split(","))
        if len(set(choices)) < len(choices):
            raise ValueError
    except ValueError as error:
        ranges = "LOW:HIGH with LOW below HIGH (above 0 for :log), or " if is_number else ""
        raise InputError(
            f"The values of {key}, which is {rule.words()}, are given as {ranges}different ones "
            f"with commas between them. Received: {key}={text}."
        ) from error
    return Dimension(key, choices=choices)


def _value(text: str, rule: Rule) -> Value:
    if rule.kind is tuple:
        return () if text == "none" else tuple(text.split("+"))
    if rule.kind is bool:
        return {"true": True, "false": False}[text] if text in ("true", "false") else text
    value: Value = rule.kind(text)
    return value
