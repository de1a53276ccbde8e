import json
import math
import os
import re
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhgkd.catalog.configs import config_folder
from mmhgkd.runner.without_gpu import GPUS, PROCESSES
from mmhgkd.utils import ConfigError
from mmhgkd.utils.config_options import find_key
from mmhgkd.utils.stored_config import parse_config

PICTURES = ('.png', '.jpg', '.jpeg', '.webp')
_ENVIRONMENT = re.compile(
    r'System environment:\n(.*?)\nRuntime environment:\n(.*?)\n-{20,}', re.S
)
_SETTING = re.compile(r'^ {4}(\S[^:]*): (.*)$', re.M)


class RunRecord:
    """What a run of ``tools/train.py`` has left in its work folder.

    A run that was resumed has a log of each start. They are put together; of
    iterations that were done twice the last counts. What is missing is a
    ConfigError.

    Args:
        work_dir (str or Path): The work folder.
    """

    def __init__(self, work_dir: str | Path) -> None:
        self.folder = Path(work_dir)
        if not self.folder.is_dir():
            raise ConfigError(
                f'there is no folder {self.folder}; pass the '
                'work folder of a run of tools/train.py'
            )
        self.logs = sorted(self.folder.glob('*/vis_data/scalars.json'))
        if not self.logs:
            raise ConfigError(
                f'{self.folder} holds no log (TIME/vis_data/scalars.json); '
                'pass the work folder of a run of tools/train.py'
            )
        #: Rows of the training log, with ``iter``.
        self.training: list[dict[str, Any]] = []
        #: Metrics by epoch, or by iteration where training has no epochs.
        self.evaluations: dict[int, dict[str, float]] = {}
        for path in self.logs:
            self._add(_read_lines(path))

    @property
    def name(self) -> str:
        """Name of the work folder."""
        return self.folder.resolve().name

    @cached_property
    def config(self) -> Config:
        """The config of the last start; it is parsed, not run.

        Weights of this project or of the work folder are found again where
        either is another one than in the training.
        """
        path = self.logs[-1].with_name('config.py')
        if not path.is_file():
            raise ConfigError(
                f'{self.folder} holds no config ({path} is missing)'
            )
        text = path.read_text(encoding='utf-8', errors='replace')
        config = Config(parse_config(text, str(path)))
        for _, part in find_key(config.get('model'), 'checkpoint', 'model'):
            part['checkpoint'] = self._find_again(
                part['checkpoint'], config.get('work_dir')
            )
        return config

    @property
    def by_epoch(self) -> bool:
        """Whether evaluations are counted in epochs."""
        return not self.training or 'epoch' in self.training[0]

    @property
    def epoch_length(self) -> int:
        """Iterations of an epoch, as far as the log tells; at least one."""
        lengths = [
            row['iter'] / row['epoch']
            for row in self.training
            if row.get('epoch')
        ]
        return math.ceil(max(lengths, default=1))

    @cached_property
    def environment(self) -> dict[str, str]:
        """Versions and devices that the log of the last start names."""
        for path in sorted(self.folder.glob('*/*.log'), reverse=True):
            found = _ENVIRONMENT.search(
                path.read_text(encoding='utf-8', errors='replace')
            )
            if found:
                return {
                    key: value
                    for part in found.groups()
                    for key, value in _SETTING.findall(part)
                    if 'compiling details' not in key
                }
        return {}

    @cached_property
    def test_results(self) -> dict[str, float]:
        """Metrics of the last run of ``tools/test.py`` in this folder."""
        for path in sorted(self.folder.glob('*/*.json'), reverse=True):
            rows = _read_lines(path)
            if rows:
                return _metrics(rows[-1])
        return {}

    @property
    def final_metrics(self) -> dict[str, float]:
        """The last value of every metric of the evaluations."""
        metrics: dict[str, float] = {}
        for _, row in sorted(self.evaluations.items()):
            metrics.update(row)
        return metrics

    @property
    def seconds_per_iteration(self) -> float | None:
        """Median over the log, None without training."""
        times = sorted(row['time'] for row in self.training if 'time' in row)
        return times[len(times) // 2] if times else None

    @property
    def images_per_second(self) -> float | None:
        """Images that all processes train on in a second."""
        seconds = self.seconds_per_iteration
        batch = (self.config.get('train_dataloader') or {}).get('batch_size')
        if not seconds or not batch:
            return None
        processes = (
            self.environment.get(name, 1) for name in (GPUS, PROCESSES)
        )
        return batch * max(map(int, processes)) / seconds

    @property
    def pictures(self) -> list[Path]:
        """Pictures of the run: of the folder, then of its hooks."""
        found = sorted(self.folder.iterdir())
        for log in self.logs:
            folder = log.with_name('vis_image')
            if folder.is_dir():
                found += sorted(
                    folder.iterdir(), key=lambda path: path.stat().st_mtime
                )
        return [path for path in found if path.suffix.lower() in PICTURES]

    @property
    def checkpoint(self) -> Path:
        """The latest checkpoint."""
        last = self.folder / 'last_checkpoint'
        if last.is_file():
            name = Path(last.read_text(errors='replace')[:10_000].strip()).name
            hooks = self.config.get('default_hooks') or {}
            out_dir = (hooks.get('checkpoint') or {}).get('out_dir')
            # Not the path that is written there: this may be a copy.
            folders = [self.folder]
            if out_dir:
                folders.append(Path(out_dir) / self.folder.absolute().name)
            for path in (folder / name for folder in folders):
                with suppress(OSError):  # no name of a file
                    if name and path.is_file():
                        return path
        raise ConfigError(
            f'{self.folder} holds no checkpoint; pass one as `--checkpoint`'
        )

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """Iterations and values of a key of the training log, or a metric.

        They are empty for a key that the run does not have.
        """
        rows = [(row['iter'], row[key]) for row in self.training if key in row]
        if not rows:
            scale = self.epoch_length if self.by_epoch else 1
            rows = [
                (step * scale, row[key])
                for step, row in sorted(self.evaluations.items())
                if key in row
            ]
        return [x for x, _ in rows], [y for _, y in rows]

    def _find_again(self, path: Any, work_dir: Any) -> Any:
        if not isinstance(path, str) or '://' in path or os.path.exists(path):
            return path
        places = []
        # It may lead to the configs by way of another folder of these.
        whole = Path(os.path.normpath(path)).as_posix()
        _, configs, name = whole.rpartition('/configs/')
        if configs:
            places.append(config_folder() / name)
        if isinstance(work_dir, str):
            places.append(self.folder / os.path.relpath(path, work_dir))
        return next((str(x) for x in places if x.is_file()), path)

    def _add(self, rows: list[dict[str, Any]]) -> None:
        """Append the log of one start."""
        training = [row for row in rows if 'iter' in row]
        if training:
            first = training[0]
            self.training = [
                row for row in self.training if row['iter'] < first['iter']
            ]
            begin = first.get('epoch', first['iter'])
            self.evaluations = {
                step: row
                for step, row in self.evaluations.items()
                if step < begin
            }
            self.training += training
        for row in rows:
            if 'iter' not in row and 'step' in row:
                metrics = _metrics(row)
                if metrics:
                    self.evaluations.setdefault(row['step'], {}).update(
                        metrics
                    )


def _metrics(row: dict[str, Any]) -> dict[str, float]:
    return {
        key: value
        for key, value in row.items()
        if key not in ('step', 'time', 'data_time')
        and isinstance(value, (int, float))
    }


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a log; a run that was killed may leave half a line."""
    rows = []
    for line in path.read_text(encoding='utf-8').splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [row for row in rows if isinstance(row, dict)]
