"""The Keras version of a process, each case in a separate process."""

import os
import subprocess
import sys

import pytest


def run(code, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | variables
    )


def test_before_tensorflow_it_chooses_keras_2():
    done = run(
        "from tfrs_distill.keras_version import require_keras_2; require_keras_2()\n"
        "import tensorflow as tf; print(tf.keras.Model.__module__)"
    )
    assert done.stdout.startswith("tf_keras."), done.stderr


def test_it_overrides_a_variable_that_selects_keras_3():
    done = run(
        "import os\n"
        "from tfrs_distill.keras_version import require_keras_2; require_keras_2()\n"
        "print(os.environ['TF_USE_LEGACY_KERAS'])",
        TF_USE_LEGACY_KERAS="0",
    )
    assert done.stdout == "1\n", done.stderr


@pytest.mark.nightly
def test_tensorflow_with_keras_2_already_imported_is_allowed():
    done = run(
        "import tensorflow\n"
        "from tfrs_distill.keras_version import require_keras_2; require_keras_2()\n"
        "print('fine')",
        TF_USE_LEGACY_KERAS="1",
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.nightly
def test_a_variable_set_after_keras_3_was_used_is_too_late():
    done = run(
        "import os, tensorflow as tf; tf.keras.Model\n"
        "os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
        "from tfrs_distill.keras_version import require_keras_2; require_keras_2()"
    )
    assert "has chosen Keras 3" in done.stderr.strip().splitlines()[-1]


def test_keras_3_already_chosen_error_has_the_first_line_to_write():
    done = run("import tensorflow\nimport tfrs_distill.keras_version as k\nk.require_keras_2()")
    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: tfrs_distill needs `tf.keras` to be Keras 2")
    assert "Restart the process (in a notebook: the runtime)" in last_line
    assert last_line.endswith('import os; os.environ["TF_USE_LEGACY_KERAS"] = "1"')
