import ctypes
import os
import sys

# Parameters of mallopt, from malloc.h of the GNU C library.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for those to come.

    A step of a training on a CPU allocates what the step before has freed.
    The GNU C library hands large blocks back to the system, which fills them
    with zeros, page by page, when the next step asks for them: up to a
    quarter of the time of a step. Environment variables for its ``malloc``
    count more; with another C library nothing changes.

    Returns:
        bool: Whether the memory is kept.
    """
    chosen = any(
        name.startswith('MALLOC_') or name == 'GLIBC_TUNABLES'
        for name in os.environ
    )
    if chosen or not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    # No block is mapped by itself, and the heap never shrinks.
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
