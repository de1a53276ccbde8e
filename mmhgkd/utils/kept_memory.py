import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt, from malloc.h of the GNU C library, and its defaults.
_M_TRIM_THRESHOLD, _TRIM_THRESHOLD = -1, 128 * 1024
_M_MMAP_MAX, _MMAP_MAX = -4, 65536


@contextmanager
def freed_memory_kept(device: str) -> Iterator[bool]:
    """Let this process keep the memory of freed tensors for those to come.

    A step of a training on a CPU allocates what the step before has freed.
    The GNU C library hands large blocks back to the system, which fills them
    with zeros, page by page, when the next step asks for them: up to a
    quarter of the time of a step. In the end all that is free goes back.
    Environment variables for its ``malloc`` count more; on another device,
    or with another C library, nothing changes.

    Args:
        device (str): Where the tensors are, such as 'cpu'.

    Yields:
        bool: Whether the memory is kept.
    """
    chosen = any(
        name.startswith('MALLOC_') or name == 'GLIBC_TUNABLES'
        for name in os.environ
    )
    library = ctypes.CDLL(None) if sys.platform.startswith('linux') else None
    if device != 'cpu' or chosen or not hasattr(library, 'mallopt'):
        yield False
        return
    assert library is not None
    # No block is mapped by itself, and the heap never shrinks.
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield True
    finally:
        library.mallopt(_M_MMAP_MAX, _MMAP_MAX)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
        library.malloc_trim(0)
