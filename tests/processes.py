"""Waits for other processes, and looks whether they are there."""

import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait for a condition; whether it has come in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
    except FileNotFoundError:
        return False
    return state.split()[0] != 'Z'
