"""Work that needs a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def in_fresh_process(module: str, request: dict[str, Any]) -> Any:
    """Run `python -m module`, which reads JSON and prints JSON as its last line.

    Raises:
        OSError: its disk was full.
        RuntimeError: it failed; the message has the end of its output.
    """
    command = [sys.executable, "-m", module]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True, env=quiet
    )
    if done.returncode:
        if "No space left on device" in done.stderr:
            raise OSError(28, "No space left on device")
        raise RuntimeError(f"{module} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
