"""What a part has measured so far, in a file."""

import json
import os
from pathlib import Path
from typing import Any

PASSED, FAILED = 'passed', 'failed'


class Results:
    """Rows of a part's table, on the disk as soon as they are known.

    Args:
        path (Path): The file, which a crash of the part leaves whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        self._write()

    def add(self, case: str, **values: Any) -> None:
        """Put values into the row of a case."""
        self.rows.setdefault(case, {}).update(values)
        self._write()

    def check(self, case: str, passed: bool, reason: str) -> None:
        """Say whether a case is as it must be, and if not, why.

        Several checks of a case add up; a failed one is not forgotten.
        """
        row = self.rows.setdefault(case, {})
        row.setdefault('check', PASSED)
        if not passed:
            reasons = row['check'].removeprefix(PASSED)
            row['check'] = f'{reasons or FAILED + ":"} {reason};'
        self._write()

    def _write(self) -> None:
        new = self.path.with_suffix('.new')
        new.write_text(json.dumps(self.rows))
        os.replace(new, self.path)


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of a part, none if it has not come so far."""
    return json.loads(path.read_text()) if path.exists() else {}
