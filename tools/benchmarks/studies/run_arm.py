import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from judge_tasks import Judge
from mmengine.config import Config

from mmhgkd.apis import load_student
from mmhgkd.report import RunRecord
from mmhgkd.runner import command_line
from mmhgkd.transfer.converters.weights_file import torch_file
from mmhgkd.utils.whole_file import WholeFileBackend, write_whole

from .peer_arm import train_peer
from .results import (
    arm_settings,
    claim_folder,
    result_path,
    training_metrics,
    write_result,
)
from .stage_configs import (
    FEW_LABELS,
    TeacherFiles,
    detection_config,
    finetuning_config,
    pretraining_config,
)
from .study_file import PEER_METHODS, Arm, Study

Metrics = dict[str, float]
UNTRAINED = 'untrained.pth'


class StudyOptions(NamedTuple):
    """How a study is run, which its results do not depend on."""

    work_dir: Path
    arms: Sequence[str] | None = None  #: None means all of the study
    seeds: Sequence[int] | None = None  #: None means those of the study
    #: Arms that are run at once, each in a process of its own above one.
    jobs: int = 1
    #: Processes that load images for a job; None means as in the configs.
    workers: int | None = None
    peers: str | None = None  #: Python that has lightly-train


class Job(NamedTuple):
    """An arm with a seed."""

    study: Study
    options: StudyOptions
    data: dict[str, int]
    arm: Arm
    seed: int
    files: TeacherFiles = TeacherFiles()

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f'{self.arm.name}_seed{self.seed}'

    @property
    def result(self) -> Path:
        """The file of its result."""
        return result_path(self.options.work_dir, self.arm.name, self.seed)

    @property
    def settings(self) -> dict:
        """All that its result depends on."""
        return arm_settings(self.study, self.arm, self.seed, self.data)


def run_arm(job: Job) -> None:
    """Pre-train a student, ask what it has learned, and write the result.

    What a call before this one has completed is not done again.
    """
    study, seed, workers = job.study, job.seed, job.options.workers
    classes = job.data['classes']
    folder = job.options.work_dir / 'runs' / job.name
    claim_folder(folder, job.settings)
    student, metrics = _pretrain(job, folder / 'pretrain')
    if judging := study.judge:
        judge = _read_judge(
            study.data_root,
            judging.size,
            tuple(judging.test),
            judging.dense_data,
        )
        metrics |= _once(
            folder / 'judge.json',
            lambda: judge.judge(load_student(student)),
        )
    # Random weights are drawn anew, those of the classifier with them.
    start = None if job.arm.method == 'scratch' else student
    stages = []
    if study.finetune:
        stages += [('finetune', 1.0), ('few_labels', FEW_LABELS)]
    for name, fraction in stages:
        stage = folder / name
        cfg = finetuning_config(
            study, start, seed, fraction, classes, stage, workers
        )
        metrics[name] = run_stage(cfg)['accuracy/top1']
        _drop_checkpoints(stage)
    if study.detect:
        stage = folder / 'detect'
        found = run_stage(detection_config(study, start, seed, stage, workers))
        metrics['detect'] = 100 * found['coco/bbox_mAP']
        _drop_checkpoints(stage)
    write_result(job.result, job.settings, metrics)


def _drop_checkpoints(stage: Path) -> None:
    """Nobody needs fine-tuned weights once they are measured."""
    for checkpoint in stage.glob('*.pth'):
        checkpoint.unlink()


def _pretrain(job: Job, stage: Path) -> tuple[str, Metrics]:
    """The checkpoint of an arm, and what its training tells."""
    study, arm = job.study, job.arm
    cfg = pretraining_config(
        study,
        arm,
        job.seed,
        job.files,
        job.data['classes'],
        stage,
        job.options.workers,
    )
    if arm.method in PEER_METHODS:
        assert job.options.peers is not None
        return train_peer(
            cfg, arm, study.data_root, job.seed, job.options.peers
        )
    trained = arm.method != 'scratch'
    found = run_stage(cfg, trained, evaluate=study.judge is None)
    metrics = {} if study.judge else of_embeddings(found)
    if not trained:
        return str(stage / UNTRAINED), metrics
    if 'cpu_seconds' in found:
        metrics['cpu_seconds'] = found['cpu_seconds']
    metrics.update(training_metrics(stage))
    return str(RunRecord(stage).checkpoint), metrics


def run_stage(
    cfg: Config, train: bool = True, evaluate: bool = True
) -> Metrics:
    """Train and evaluate, unless that has been done; returns the metrics.

    With ``train`` of False random weights are evaluated, and kept as
    :data:`UNTRAINED`. ``cpu_seconds`` are those of a training that was never
    interrupted.
    """
    folder = Path(cfg.work_dir)

    def stage() -> Metrics:
        whole = not any(folder.glob('*.pth'))
        runner = command_line.build_runner(cfg)
        metrics: Metrics = {}
        if train:
            start = sum(os.times()[:4])
            runner.train()
            if whole:
                metrics['cpu_seconds'] = sum(os.times()[:4]) - start
        else:
            runner.model.init_weights()
            content = dict(
                state_dict=runner.model.state_dict(),
                meta=dict(cfg=cfg.pretty_text),
            )
            write_whole(folder / UNTRAINED, torch_file(content))
        if evaluate:
            loop = runner.val_loop.run if train else runner.val
            metrics.update(loop())
        return metrics

    return _once(folder / 'metrics.json', stage)


def _once(path: Path, body: Callable[[], Metrics]) -> Metrics:
    """What an earlier call has written, else what ``body`` gives."""
    if path.is_file():
        return json.loads(path.read_text())
    metrics = body()
    WholeFileBackend().put(json.dumps(metrics).encode(), str(path))
    return metrics


@functools.lru_cache(1)
def _read_judge(
    data_root: str, size: int, test: tuple[str, ...], dense_data: str | None
) -> Judge:
    root = Path(data_root)
    tasks = ['knn', 'linear', 'few', *(['dense'] if dense_data else [])]
    return Judge(
        tasks,
        str(root / 'train'),
        [str(root / split) for split in test],
        dense_data,
        size,
    )


def of_embeddings(found: Metrics) -> Metrics:
    """The two figures of the probes of a config."""
    return dict(knn=found['knn/top1'], linear=found['linear/top1'])
