import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhgkd.report import RunRecord
from mmhgkd.runner import command_line
from mmhgkd.utils.whole_file import WholeFileBackend

from .results import claim_folder, write_result
from .stage_configs import (
    FEW_LABELS,
    TeacherFiles,
    finetuning_config,
    pretraining_config,
)
from .study_file import Arm, Study

GRADIENTS = ('gradient_feat', 'gradient_sim', 'gradient_cosine')
PARTS = ('loss_feat', 'pearson', 'self_variance_share', 'embedding_cosine')


def run_arm(
    study: Study,
    arm: Arm,
    seed: int,
    files: TeacherFiles,
    data: dict[str, int],
    folder: Path,
    result: Path,
    workers: int | None,
) -> None:
    """Pre-train a student, evaluate and fine-tune it, and write the result.

    What a call before this one has completed is not done again.

    Args:
        study (Study): The study.
        arm (Arm): How to pre-train.
        seed (int): Seed of everything.
        files (TeacherFiles): Teacher and probe.
        data (dict[str, int]): Of :func:`count_images`.
        folder (Path): Receives a folder a training.
        result (Path): The file of the result.
        workers (int, optional): Processes that load images; None means as
            many as in the configs.
    """
    settings = arm_settings(study, arm, seed, data)
    claim_folder(folder, settings)
    stage = folder / 'pretrain'
    cfg = pretraining_config(study, arm, seed, files, stage, workers)
    trained = arm.method != 'scratch'
    found = run_stage(cfg, trained)
    metrics = dict(knn=found['knn/top1'], linear=found['linear/top1'])
    student = None
    if trained:
        student = str(last_checkpoint(stage))
        metrics.update(_of_training(stage))
    for name, fraction in (('finetune', 1.0), ('few_labels', FEW_LABELS)):
        stage = folder / name
        cfg = finetuning_config(
            study, student, seed, fraction, data['classes'], stage, workers
        )
        metrics[name] = run_stage(cfg)['accuracy/top1']
        # Nobody needs the fine-tuned weights once they are measured.
        for checkpoint in stage.glob('*.pth'):
            checkpoint.unlink()
    write_result(result, settings, metrics)


def arm_settings(
    study: Study, arm: Arm, seed: int, data: dict[str, int]
) -> dict[str, Any]:
    """All that the result of an arm depends on."""
    return dict(
        config=arm.config,
        method=arm.method,
        options={**study.options, **arm.options},
        seed=seed,
        epochs=study.epochs,
        teacher=asdict(study.teacher),
        finetune=asdict(study.finetune),
        gradient_interval=study.gradient_interval,
        data=data,
    )


def run_stage(cfg: Config, train: bool = True) -> dict[str, float]:
    """Train and evaluate, unless that has been done.

    Args:
        cfg (Config): Config of the training.
        train (bool): False evaluates random weights. Defaults to True.

    Returns:
        dict[str, float]: The metrics at the end.
    """
    path = Path(cfg.work_dir) / 'metrics.json'
    if path.is_file():
        return json.loads(path.read_text())
    runner = command_line.build_runner(cfg)
    if train:
        runner.train()
        metrics = runner.val_loop.run()
    else:
        runner.model.init_weights()
        metrics = runner.val()
    WholeFileBackend().put(json.dumps(metrics).encode(), str(path))
    return metrics


def last_checkpoint(work_dir: Path) -> Path:
    """The checkpoint that a training has left behind."""
    return RunRecord(work_dir).checkpoint


def _of_training(work_dir: Path) -> dict[str, float]:
    """Speed, and the parts of the losses where they were logged.

    Gradients are means over the training, the others over its last quarter.
    """
    record = RunRecord(work_dir)
    found = {}
    if record.images_per_second is not None:
        found['images_per_second'] = record.images_per_second
    for key in (*GRADIENTS, *PARTS):
        values = record.series(key)[1]
        if key in PARTS:
            values = values[-math.ceil(len(values) / 4) :]
        if values:
            found[key] = math.fsum(values) / len(values)
    return found
