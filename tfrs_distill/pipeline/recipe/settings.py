"""A dataclass field with its own validation rule, and the check that applies the rules."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from tfrs_distill.errors import InputError

A_TYPE = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
}  # a tuple is of texts


@dataclass(frozen=True)
class Rule:
    """The type of a value (`kind`) and its bounds, if any."""

    kind: type
    meaning: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    pattern_words: str = ""

    def words(self) -> str:
        """The rule in words, for an error message."""
        if self.choices:
            which = "a list of different ones of" if self.kind is tuple else "one of"
            return f"{which} " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind is tuple:
            return "a list of different texts"
        if self.pattern:
            return self.pattern_words
        bounds = {
            "of at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        given = [
            f"{word} {bound}" if isinstance(bound, int) else f"{word} {bound:g}"
            for word, bound in bounds.items()
            if bound is not None
        ]
        return " ".join([A_TYPE[self.kind], " and ".join(given)]).strip()

    def comment(self) -> str:
        """The meaning, and the choices where there are some."""
        if not self.choices:
            return self.meaning
        which = "any of" if self.kind is tuple else "one of"
        return f"{self.meaning}; {which} {', '.join(self.choices)}"

    def holds(self, value: Any) -> bool:
        """Whether `value` has the type and is within every bound; NaN never is."""
        if self.kind is tuple:
            listed = isinstance(value, (list, tuple)) and len(set(map(str, value))) == len(value)
            if not self.choices:
                return listed and all(isinstance(entry, str) and entry for entry in value)
            return listed and all(entry in self.choices for entry in value)
        if self.kind is bool:
            return isinstance(value, bool)
        kinds = (int, float) if self.kind is float else self.kind
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        if isinstance(value, str):
            if self.choices and value not in self.choices:
                return False
            return not self.pattern or re.fullmatch(self.pattern, value) is not None
        number: Any = value
        return abs(number) < math.inf and (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )


def setting(default: Any, meaning: str, **bounds: Any) -> Any:
    """A dataclass field with its default, its meaning and its rule.

    Args:
        default: its value where none is given.
        meaning: the comment in a recipe file.
        **bounds: of `Rule`.
    """
    return dataclasses.field(
        default=default, metadata={"rule": Rule(type(default), meaning, **bounds)}
    )


def rule_of(field: dataclasses.Field[Any]) -> Rule | None:
    """The field's rule; None if the field is a section."""
    return field.metadata.get("rule")


def check(settings: Any, section: str = "") -> None:
    """Check every field of a frozen dataclass against its rule; integers are valid numbers.

    Raises:
        InputError: a value breaks its rule; the message names the key, the value and the rule.
    """
    for field in dataclasses.fields(settings):
        rule = rule_of(field)
        if rule is None:
            continue
        value = getattr(settings, field.name)
        if not rule.holds(value):
            key = f"{section}.{field.name}" if section else field.name
            raise InputError(
                f"`{key}` must be {rule.words()}. Received: {value!r}. ({rule.meaning}.)"
            )
        object.__setattr__(settings, field.name, rule.kind(value))
