"""Freed memory stays in the process, on every thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEASURE = """
import resource, threading
import numpy as np
from metabench.bench.training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        filled, *untouched = np.full(20 * 2**20, 1, np.float32), *(np.empty(900 * 2**20, np.uint8) for _ in range(3))
        del filled, untouched
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = []
def work():
    faults()
    found.append(faults())

keep_freed_memory()
for run in (work, lambda: [t.start() or t.join() for t in [threading.Thread(target=work)]]):
    run()
print(*found)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator is glibc's")
def test_memory_is_paid_for_once_on_the_main_thread_and_on_others() -> None:
    """Four arrays of 80 MiB, more than a thread's own heap holds, after as many: 4 × 20 480 faults of 4 KiB if mapped.

    With huge pages 4 × 40. Each is freed with 2.6 GiB above it, more than mallopt's largest number of bytes to keep.
    In a process of its own, since the setting cannot be taken back.
    """
    out = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=60)
    main, other = map(int, out.stdout.split())
    assert main < 40
    assert other < 40
