import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from mmhgkd.utils.kept_memory import keep_freed_memory


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


kept = {keep} and keep_freed_memory()
for step in range(8):
    before = faults()
    tensors = [torch.ones(2**24 // n) for n in (1, 2, 3)]
    del tensors
print(kept, faults() - before)
"""


def page_faults(keep: bool, **variables: str) -> tuple[str, int]:
    """What is returned, and the new pages of a later step."""
    run = subprocess.run(
        [sys.executable, '-c', PROGRAM.format(keep=keep)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, pages = run.stdout.split()
    return kept, int(pages)


@pytest.mark.skipif(
    os.name != 'posix' or 'CS_GNU_LIBC_VERSION' not in os.confstr_names,
    reason='needs the GNU C library',
)
def test_memory_of_a_step_serves_the_next_one() -> None:
    pages = 4 * 2**24 // os.sysconf('SC_PAGE_SIZE')
    kept, faults = page_faults(False)
    assert (kept, faults > pages) == ('False', True)
    kept, faults = page_faults(True)
    assert (kept, faults < 0.5 * pages) == ('True', True)


def test_variables_of_the_user_count_more() -> None:
    assert page_faults(True, MALLOC_ARENA_MAX='2')[0] == 'False'
