"""Arms of a study that another package trains."""

import json
import os
import subprocess
from pathlib import Path

import torch
from mmengine.config import Config

from mmhgkd.utils import RunError

from .study_file import Arm

PEERS = Path(__file__).parents[1] / 'peers'
TOOL = PEERS / 'lightly_train_peer.py'
# A study that is killed cannot tell a process of its own to end.
_START = (
    'import runpy, sys; '
    'from mmhgkd.utils.end_with_parent import end_with_parent; '
    'end_with_parent(); del sys.argv[0]; '
    'runpy.run_path(sys.argv[0], run_name="__main__")'
)


class PeerError(RunError):
    """A peer has failed, which concerns no other arm."""


def train_peer(
    cfg: Config, arm: Arm, data_root: str, seed: int, python: str
) -> tuple[str, dict[str, float]]:
    """Train the student of a config by a method of lightly-train.

    One that was cut off starts again: to go on, lightly-train unpickles its
    own checkpoint, which could run code.

    Args:
        cfg (Config): The pre-training of the arm; its folder is ``work_dir``.
        arm (Arm): Its ``method`` and the options of ``peer``.
        data_root (str): With images in ``train/CLASS``.
        seed (int): Of weights and order.
        python (str): Interpreter of the environment that has lightly-train.

    Returns:
        tuple: The checkpoint, and the cost of the training.

    Raises:
        PeerError: If it has failed.
    """
    folder = Path(cfg.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / 'student.pth'
    record = out.with_suffix('.json')
    if not record.is_file():
        config = folder / 'config.py'
        cfg.dump(config)
        values = dict(
            method=arm.method,
            data=Path(data_root) / 'train',
            student_config=config,
            epochs=cfg.train_cfg.max_epochs,
            batch_size=cfg.train_dataloader.batch_size,
            threads=torch.get_num_threads(),
            seed=seed,
            out=out,
            **arm.peer,
        )
        _call(python, values, folder / 'log.txt')
    found = json.loads(record.read_text())
    return str(out), dict(
        images_per_second=found['images_seen'] / found['seconds'],
        cpu_seconds=found['cpu_seconds'],
    )


def _call(python: str, values: dict, log: Path) -> None:
    command = [python, '-c', _START, str(TOOL)]
    for key, value in values.items():
        command.append('--' + key.replace('_', '-'))
        if value is not True:
            command.append(str(value))
    paths = [str(PEERS), str(PEERS.parents[2]), os.environ.get('PYTHONPATH')]
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths))
    )
    with open(log, 'ab') as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code:
        lines = log.read_text(errors='replace').strip().splitlines()
        raise PeerError(
            f'lightly-train has ended with {code}: '
            f'{lines[-1] if lines else "no output"} ({log})'
        )
