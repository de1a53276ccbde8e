import os
import signal
import time
from threading import Thread


def end_with_parent(patience: float = 60.0, interval: float = 1.0) -> None:
    """End this process when the one that has started it is gone.

    A launcher that is killed cannot tell its processes to end, and they
    would keep their devices. They are told by SIGTERM, which a training
    heeds by saving; one that hangs, as another rank has been stopped, is
    killed later.

    Args:
        patience (float): Seconds from SIGTERM to the kill. Defaults to 60.
        interval (float): Seconds between two looks. Defaults to 1.
    """
    parent = os.getppid()
    Thread(
        target=_watch, args=(parent, patience, interval), daemon=True
    ).start()


def _watch(parent: int, patience: float, interval: float) -> None:
    while os.getppid() == parent:
        time.sleep(interval)
    text = (
        f'process {os.getpid()}: the one that has started it is gone; '
        f'it saves and ends, or is killed after {patience:g} seconds\n'
    )
    os.write(2, text.encode())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience)
    os.kill(os.getpid(), signal.SIGKILL)
