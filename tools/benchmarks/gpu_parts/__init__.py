"""Parts of ``gpu_report.py``, each a module with the same four things.

``TITLE`` is the heading of its table, ``SECONDS`` its share of the ten
minutes, ``COLUMNS`` the columns behind the case: heading and format by key of
the results. ``cases(args)`` names the rows, measured or not, and
``run(args, results)`` measures them.
"""

from . import (
    blocks,
    compilation,
    kernels,
    modes,
    ranks,
    students,
    tables,
    training,
)

PARTS = {
    1: compilation,
    2: kernels,
    3: students,
    4: training,
    5: tables,
    6: modes,
    7: blocks,
    8: ranks,
}

__all__ = ['PARTS']
