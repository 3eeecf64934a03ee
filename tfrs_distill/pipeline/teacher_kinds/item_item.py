"""The item-item teacher of a run: EASE with its penalty and temperature chosen on validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfrs_distill.data.windows import Windows
from tfrs_distill.evaluation.baselines import best_ease
from tfrs_distill.files import whole_file
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, Setting
from tfrs_distill.teachers import Calibrated, ItemItemTeacher, fit_temperature, held_out_windows

CHOICES = "item_item.json"


class ItemItem:
    """`ItemItemTeacher`, calibrated."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def settings(self) -> Any:
        """Nothing but the data decides it."""
        return {}

    def train(self, folder: Path) -> Facts:
        """Choose `l2` by validation NDCG, then the temperature by the labels' likelihood."""
        splits = self.setting.splits
        ease = best_ease(splits, self.setting.k)
        teacher = ItemItemTeacher(splits.train, l2=ease.l2)
        held_out = held_out_windows(
            splits.validation, max_history=self.setting.recipe.data.max_history
        )
        temperature = fit_temperature(teacher, held_out).temperature
        with whole_file(folder / CHOICES, "w") as file:
            json.dump({"l2": ease.l2, "temperature": temperature}, file)
        return {
            "parameters": teacher.num_parameters,
            "bytes": 4 * teacher.num_parameters,
            "line": f"EASE with l2 {ease.l2:g} at temperature {temperature:.3g}",
        }

    def open(self, folder: Path) -> Calibrated:
        """Solve it again: quicker than reading its weights."""
        return self._solve(self.setting.splits.train, folder)

    def train_fold(self, windows: Windows, fold: int, whole: Path, folder: Path) -> Calibrated:
        """On these windows, with the whole teacher's regularisation and temperature."""
        return self._solve(windows, whole)

    def _solve(self, windows: Windows, folder: Path) -> Calibrated:
        chosen = json.loads((folder / CHOICES).read_text())
        return Calibrated(ItemItemTeacher(windows, l2=chosen["l2"]), chosen["temperature"])
