"""Training on a CPU: keep the memory that a step frees, for the next step needs as much again."""

from __future__ import annotations

import ctypes
import os
import sys

# Of glibc's malloc.h: what is asked for beyond a need and never given back, the free memory above
# which some is given back, and the size from which a block is mapped by itself.
SETTINGS = {
    "MALLOC_TOP_PAD_": (-2, 256 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
}


def keep_freed_memory() -> None:
    """Tell the C library's allocator to keep what the process frees.

    glibc may return large blocks to the operating system, which fills every page of a step's
    tensors with zeros again at the next step: `benchmarks/freed_memory.py` prints what that costs a
    small student's step in a fresh process. After a process has freed large arrays glibc keeps more
    by itself, and nothing is gained: `benchmarks/distiller_step.py` prints the ratio in such a one.
    The process' memory stays at what it once needed at the same time.

    A setting of the user's, by one of the environment variables in `SETTINGS`, is left as it is.
    Nothing is done where the C library is not glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, (parameter, value) in SETTINGS.items():
        if variable not in os.environ:
            mallopt(parameter, value)
