"""A test file run as a script, for settings that are needed before TensorFlow starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import tfrs_distill


def printed_by(file, *arguments, timeout):
    """The JSON on the last line that `python file arguments` prints, with this package, Keras 2."""
    package = Path(tfrs_distill.__file__).parents[1]
    paths = [str(package), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    finished = subprocess.run(
        [sys.executable, file, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])
