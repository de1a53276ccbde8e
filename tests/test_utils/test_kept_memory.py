import os
import subprocess
import sys
from typing import NamedTuple

import pytest

PROGRAM = """
import resource
from contextlib import nullcontext
import torch
from mmhgkd.utils.kept_memory import freed_memory_kept

PAGE = resource.getpagesize()


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * PAGE / 2**20


before = resident()
with {context} as kept:
    for step in range(8):
        start = faults()
        tensors = [torch.ones(2**24 // n) for n in (1, 2, 3)]
        del tensors
    new = faults() - start
print(kept is True, new, resident() - before)
"""
KEEP = "freed_memory_kept('cpu')"
HERE = sys.platform.startswith('linux') and (
    'CS_GNU_LIBC_VERSION' in os.confstr_names
)


class Outcome(NamedTuple):
    kept: str
    faults: int  #: new pages of the last step
    left: float  #: MiB that are resident in the end


def run(context: str, **variables: str) -> Outcome:
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(('MALLOC_', 'GLIBC_'))
    }
    process = subprocess.run(
        [sys.executable, '-c', PROGRAM.format(context=context)],
        env={**own, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults, left = process.stdout.split()
    return Outcome(kept, int(faults), float(left))


@pytest.mark.skipif(not HERE, reason='needs Linux with the GNU C library')
def test_memory_of_a_step_serves_the_next_one() -> None:
    plain, kept = run('nullcontext()'), run(KEEP)
    assert (plain.kept, kept.kept) == ('False', 'True')
    # Of huge pages there are few.
    assert kept.faults < 0.1 * plain.faults
    # Tensors of a step have 117 MiB.
    assert kept.left < 50


@pytest.mark.skipif(not HERE, reason='needs Linux with the GNU C library')
def test_variables_of_the_user_count_more() -> None:
    assert run(KEEP, MALLOC_ARENA_MAX='2').kept == 'False'
