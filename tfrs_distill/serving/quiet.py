"""Redirects the standard error output of native libraries."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)
_one_thread = threading.RLock()  # concurrent swaps of standard error would mix them up


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Redirect the process's standard error to the debug log.

    TensorFlow's converter and the LiteRT runtime print developer notes there and have no other
    switch. Exceptions pass through unchanged. The whole process is affected, so keep the block
    short; threads run such blocks one after the other.

    Example:
    >>> with quiet_stderr():
    ...     _ = os.write(2, b"not seen")
    """
    with _one_thread:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # no standard error: nothing to redirect
            yield
            return
        with tempfile.TemporaryFile() as chatter:
            os.dup2(chatter.fileno(), 2)
            try:
                yield
            finally:
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    sys.stderr.flush()
                os.dup2(kept, 2)
                os.close(kept)
                chatter.seek(0)
                notes = chatter.read().decode(errors="replace").strip()
                if notes:
                    logger.debug("%s", notes)
