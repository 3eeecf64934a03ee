"""Mutation tests: damages lines of the package, one at a time, and prints which tests fail.

    python benchmarks/mutations.py [--only TEXT] [--json FILE]

Works on a copy of the package; about 20 seconds per damage, most of them for importing TensorFlow.
A damage that no test finds is a row with `holds: false`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rows import Row, publish, row

ROOT = Path(__file__).parents[1]


class Mutation(NamedTuple):
    """A line of the package, its damaged version, and the tests that should find it.

    Args:
        name: the damaged behaviour.
        file: path within the package.
        before: text that occurs there exactly once.
        after: its replacement.
        tests: a file within `tests/`, and which of its tests (pytest's `-k`).
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, str]


STEP = "distiller/distiller.py"
TEACHERS = "distiller/teacher_outputs.py"
CHECKS = "distiller/first_batch.py"
MUTATIONS = (
    Mutation(
        "student loss and distillation loss exchanged",
        STEP,
        "student_loss = w * totals[task] if task in totals else 0.0",
        "student_loss = (1.0 - w) * totals[task] if task in totals else 0.0",
        ("distiller/test_distiller.py", "terms_are_the_equation"),
    ),
    Mutation(
        "weights of the distillation losses ignored",
        STEP,
        "parts.append(self.distillation_loss_weights[name] * terms[name].part)",
        "parts.append(terms[name].part)",
        ("distiller/test_ranking_distiller.py", "terms_are_the_equation"),
    ),
    Mutation(
        "hidden losses not mixed",
        STEP,
        "total += (1.0 - self.student_loss_weights[HIDDEN]) * hidden_loss",
        "total += hidden_loss",
        ("distiller/test_ranking_distiller_teachers.py", "hidden_representations_are_those"),
    ),
    Mutation(
        "regularisation missing in the step",
        STEP,
        "regularised = total + sum(self.losses) / num_replicas()",
        "regularised = total",
        ("distiller/test_distiller.py", "regularisation"),
    ),
    Mutation(
        "sample weights ignored by the student loss",
        "models/student.py",
        "(self.hard_loss(batch, outputs), self.row_weights(batch)) for task in tasks",
        "(self.hard_loss(batch, outputs), None) for task in tasks",
        ("distiller/test_distiller_rows.py", "sample_weights_apply_to_every_term"),
    ),
    Mutation(
        "teacher's logits not masked like the student's",
        TEACHERS,
        "return self.head.candidates.adjust(self.raw)",
        "return self.raw",
        ("distiller/test_distiller_candidates.py", "same_candidates"),
    ),
    Mutation(
        "a ranking teacher's logits not masked like the student's",
        TEACHERS,
        "return tf.where(is_candidate(self.head.logits), self.raw, MASKED)",
        "return self.raw",
        ("distiller/test_ranking_distiller.py", "items_of_the_history_are_masked"),
    ),
    Mutation(
        "rows of NaN in a teacher's column count",
        TEACHERS,
        "return tf.where(missing, 0.0, 1.0 if weights is None else tf.cast(weights, tf.float32))",
        "return 1.0 if weights is None else tf.cast(weights, tf.float32)",
        (
            "distiller/test_ranking_distiller.py",
            "terms_are_the_equation or batch_without_teacher_logits",
        ),
    ),
    Mutation(
        "cold items ranked among all items",
        "models/two_tower.py",
        "items = tf.constant(self.cold_items, tf.int32)",
        "items = tf.range(1, self.num_items + 1)",
        ("distiller/test_cold_items_task.py", "separate_softmax"),
    ),
    Mutation(
        "ids of items never hidden",
        "models/item_tower.py",
        "        if self.id_dropout:\n",
        "        if False:\n",
        ("models/test_described_item_tower.py", "ids_are_hidden"),
    ),
    Mutation(
        "a teacher runs once per task",
        TEACHERS,
        "if key not in self._logits:",
        "if True:",
        ("distiller/test_ranking_distiller.py", "each_teacher_run_once_per_step"),
    ),
    Mutation(
        "teacher outputs at rows of weight 0 are kept",
        TEACHERS,
        "return tf.where(counts, values, tf.zeros_like(values))",
        "return values",
        ("distiller/test_distiller_rows.py", "row_of_weight_0_may_have"),
    ),
    Mutation(
        "the teacher stays in the files",
        STEP,
        'return [name for name in super().__dir__() if name != "teacher"]',
        "return list(super().__dir__())",
        ("distiller/test_distiller_resume.py", "file_does_not_hold_the_teacher or saved_weights"),
    ),
    Mutation(
        "a loaded distiller does not wait for its teacher",
        STEP,
        "distiller.untracked.missing_teachers = set(taught_tasks)",
        "pass",
        ("distiller/test_distiller_resume.py", "without_a_teacher_is_refused"),
    ),
    Mutation(
        "current temperatures are not saved",
        STEP,
        "loss.temperature = float(self.temperatures[name].numpy())",
        "pass",
        ("distiller/test_distiller_resume.py", "arguments_are_restored"),
    ),
    Mutation(
        "the first batch is not checked",
        "models/first_batch.py",
        "            self.check_batch(batch)\n        self.is_checked = True",
        "            pass\n        self.is_checked = True",
        ("distiller/test_distiller_errors.py", "finite_names_its_example or probabilities"),
    ),
    Mutation(
        "the first batch is lost",
        "models/first_batch.py",
        "        return iter(again)",
        "        return iterator",
        ("distiller/test_distiller_rows.py", "epoch_logs_are_means"),
    ),
    Mutation(
        "a NaN does not stop training",
        "models/first_batch.py",
        "if not math.isfinite(value):",
        "if False:",
        ("distiller/test_distiller_errors.py", "at_a_later_batch"),
    ),
    Mutation(
        "a NaN changes the weights",
        "models/step.py",
        "tf.cond(tf.math.is_finite(total), apply, lambda: tf.constant(False))",
        "apply()",
        ("distiller/test_distiller_errors.py", "at_a_later_batch"),
    ),
    Mutation(
        "infinite teacher values accepted",
        CHECKS,
        "fine = (np.isfinite(rows) & (rows < -MASKED)).all(axis=1)",
        "fine = (rows == rows).all(axis=1)",
        ("distiller/test_distiller_errors.py", "finite_names_its_example"),
    ),
    Mutation(
        "probabilities accepted",
        "distiller/probabilities.py",
        "if (rows >= 0.0).all() and",
        "if False and",
        ("distiller/test_distiller_errors.py", "probabilities"),
    ),
    Mutation(
        "lists of one candidate accepted",
        CHECKS,
        "if 1 < len(queries) == len(np.unique(queries)):",
        "if False:",
        ("distiller/test_ranking_distiller_lists.py", "one_candidate_each"),
    ),
    Mutation(
        "impossible labels accepted",
        "models/multi_task_model.py",
        "            if len(wrong):",
        "            if False:",
        ("models/test_ranking_model.py", "cannot_have"),
    ),
    Mutation(
        "temperature squared missing in the KL divergence",
        "losses/soft_target_kl_divergence.py",
        "return temperature**2 * divergence, gradient",
        "return divergence, gradient",
        ("losses/test_soft_target_kl_divergence.py", "temperature"),
    ),
    Mutation(
        "a fold's teacher is trained on its own rows",
        "knowledge/cross_fit.py",
        "train(examples.subset(fold_of_row != fold), fold)",
        "train(examples.subset(fold_of_row == fold), fold)",
        ("knowledge/test_cross_fit_rows.py", "user or leak or never or never_trained"),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only damages whose name contains this text")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if arguments.only in mutation.name]
    publish([seen(mutation) for mutation in chosen], arguments.json)


def seen(mutation: Mutation) -> Row:
    """Damage a copy, run the tests, and return which failed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("tfrs_distill", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "tfrs_distill" / mutation.file
        path.write_text(damaged(mutation, path.read_text(encoding="utf-8")), encoding="utf-8")
        file, names = mutation.tests
        command = [sys.executable, "-m", "pytest", f"tests/{file}", "-k", names, "-q", "-n", "0"]
        paths = os.pathsep.join(filter(None, [str(copy), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            command,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
        )
    failed = re.findall(r"^(?:FAILED|ERROR) \S+::(\S+)", done.stdout, re.MULTILINE)
    detail = f"{mutation.file}: {', '.join(failed[:3]) or 'no test of ' + names + ' failed'}"
    return row(mutation.name, len(failed), "failed tests", ">= 1", detail)


def damaged(mutation: Mutation, text: str) -> str:
    """The file's text with the damage.

    Raises:
        ValueError: the text does not occur exactly once.
    """
    if text.count(mutation.before) != 1:
        raise ValueError(
            f"{mutation.file} must have this text once, for {mutation.name!r}: "
            f"{mutation.before!r}. Found: {text.count(mutation.before)} times."
        )
    return text.replace(mutation.before, mutation.after)


if __name__ == "__main__":
    main()
