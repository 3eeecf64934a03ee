import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from tfrs_distill.pipeline.freed_memory import keep_freed_memory

keep_freed_memory()
np.ones(2**18)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**18)  # 2 MB, 512 pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
@pytest.mark.parametrize(
    ("users_own", "fresh"),
    [({}, False), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, True)],
    ids=["kept", "as the user set it"],
)
def test_freed_memory_is_used_again(users_own, fresh):
    others = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env=others | users_own,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (int(ran.stdout) > 10 * 512) == fresh
