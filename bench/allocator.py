"""Keep freed memory in the process: tensors of one shape come and go every step."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Tell glibc not to return freed blocks to the kernel; no effect elsewhere.

    By default every large activation is mapped, zeroed page by page, and unmapped again: a quarter of the time of
    a ProtoNet step on a CPU was spent in the kernel.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(TOP_PAD, 64 * 2**20)
        mallopt(MMAP_THRESHOLD, 2**30)
