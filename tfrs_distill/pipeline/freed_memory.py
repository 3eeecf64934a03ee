"""Training on a CPU: keep the memory that a step frees, for reuse in the next step."""

from __future__ import annotations

import ctypes
import os
import sys

# Of glibc's malloc.h: the extra memory that is requested and never returned, the free memory above
# which some is returned, and the size from which a block is mapped separately.
SETTINGS = {
    "MALLOC_TOP_PAD_": (-2, 256 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
}


def keep_freed_memory() -> None:
    """Configure the C library's allocator to keep the memory that the process frees.

    glibc may return large blocks to the operating system, which then fills every page of a step's
    tensors with zeros again at the next step: `benchmarks/freed_memory.py` prints the cost for a
    small student's step in a fresh process. After a process has freed large arrays, glibc itself
    keeps more, and there is no gain: `benchmarks/distiller_step.py` prints the ratio in such a
    process. The process' memory stays at its peak.

    A user's setting in one of the environment variables of `SETTINGS` is kept. Without glibc
    nothing is done.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, (parameter, value) in SETTINGS.items():
        if variable not in os.environ:
            mallopt(parameter, value)
