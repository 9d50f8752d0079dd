"""Keep freed memory in the process: tensors of one shape come and go every step."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8


def keep_freed_memory() -> None:
    """Tell glibc not to return freed blocks to the kernel; no effect elsewhere.

    By default every large activation is mapped, zeroed page by page, and unmapped again: a quarter of the time of
    a ProtoNet step on a CPU was spent in the kernel. −1 keeps everything; any number of bytes, an int, is below 2 GiB,
    and a 30-way miniImageNet episode frees six.
    """
    share_one_heap()
    _mallopt({TRIM_THRESHOLD: -1, TOP_PAD: 64 * 2**20, MMAP_THRESHOLD: 2**30})


def share_one_heap() -> None:
    """Let threads allocate where the main one does: heaps of their own keep no more than 64 MiB, whatever is set.

    The first map of conv4 is larger for 75 miniImageNet images, and a third of ANIL's time on two threads was spent
    in the kernel. A heap that a thread already has stays in use, so call this before the first thread allocates.
    """
    _mallopt({ARENA_MAX: 1})


def _mallopt(options: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in options.items():
            mallopt(name, value)
