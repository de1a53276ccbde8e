import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmhgkd.registry import MODELS
from mmhgkd.report import RunRecord
from mmhgkd.runner import command_line, safe_loading
from mmhgkd.utils import ConfigError, RunError, RunStopped
from mmhgkd.utils.build_errors import clear_build_errors
from mmhgkd.utils.end_with_parent import end_with_parent
from mmhgkd.utils.whole_file import WholeFileBackend

from .results import (
    TEACHER,
    arm_settings,
    claim_folder,
    read_result,
    result_path,
    training_metrics,
    write_result,
)
from .soft_labels import fit_teacher_probe
from .stage_configs import (
    FEW_LABELS,
    TeacherFiles,
    count_images,
    finetuning_config,
    pretraining_config,
    teacher_config,
)
from .study_file import Arm, Study


class StudyOptions(NamedTuple):
    """How a study is run, which its results do not depend on."""

    work_dir: Path
    arms: Sequence[str] | None = None  #: None means all of the study
    seeds: Sequence[int] | None = None  #: None means those of the study
    #: Arms that are run at once, each in a process of its own above one.
    jobs: int = 1
    #: Processes that load images for a job; None means as in the configs.
    workers: int | None = None


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


def run_study(study: Study, options: StudyOptions) -> None:
    """Run the arms of a study that have no result yet.

    Raises:
        ConfigError: If study, data or options do not fit.
        RunError: If arms have failed; the others have been run.
    """
    if options.jobs < 1:
        raise ConfigError(f'--jobs must be at least 1, got {options.jobs}')
    data = count_images(study.data_root)
    jobs = [
        Job(study, options, data, arm, seed)
        for arm in choose_arms(study, options.arms)
        for seed in options.seeds or study.seeds
    ]
    jobs = [job for job in jobs if not read_result(job.result, job.settings)]
    if not jobs:
        print_log('all results are there', 'current')
        return
    check_arms(study, [job.arm for job in jobs], data['classes'])
    with_probe = any(job.arm.method == 'soft_labels' for job in jobs)
    files = prepare_teacher(study, options, data, with_probe)
    jobs = [job._replace(files=files) for job in jobs]
    if options.jobs == 1:
        outcomes = [_try(job) for job in jobs]
    else:
        outcomes = _run_parallel(jobs, options.jobs)
    failures = [outcome for outcome in outcomes if outcome]
    if failures:
        raise RunError(
            f'{len(failures)} of {len(jobs)} runs have failed: '
            f'{"; ".join(failures)}'
        )


def choose_arms(study: Study, names: Sequence[str] | None) -> list[Arm]:
    """Arms by their names, None for all, in the order of the study."""
    known = [arm.name for arm in study.arms]
    for name in names or ():
        if name not in known:
            raise ConfigError(
                f'the study has no arm `{name}`; its arms are '
                f'{", ".join(known)}'
            )
    return [arm for arm in study.arms if names is None or arm.name in names]


def check_arms(study: Study, arms: Sequence[Arm], classes: int) -> None:
    """Build every model once: hours later is too late to find a mistake."""
    folder = Path('check')
    for arm in {arm.name: arm for arm in arms}.values():
        cfg = pretraining_config(study, arm, 0, TeacherFiles(), folder, None)
        if arm.method != 'soft_labels':  # its probe is fitted later
            _build(f'arm `{arm.name}`', cfg)
    cfg = finetuning_config(study, None, 0, 1.0, classes, folder, None)
    _build('`finetune`', cfg)


def _build(where: str, cfg: Config) -> None:
    model = dict(cfg.model)
    model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        with (
            clear_build_errors(),
            DefaultScope.overwrite_default_scope(cfg.default_scope),
        ):
            MODELS.build(model)
    except ConfigError as error:
        raise ConfigError(f'{where}: {error}') from error


def prepare_teacher(
    study: Study, options: StudyOptions, data: dict[str, int], with_probe: bool
) -> TeacherFiles:
    """Train the teacher, and fit its probe, unless that has been done."""
    folder = options.work_dir / 'teacher'
    settings = dict(teacher=asdict(study.teacher), data=data)
    checkpoint = study.teacher.checkpoint
    if checkpoint is not None:
        if not Path(checkpoint).is_file():
            raise ConfigError(
                f'the teacher `{checkpoint}` does not exist; '
                'add `--teacher FILE`'
            )
    elif study.teacher.config is None:
        raise ConfigError(
            'the study has no teacher; set `teacher.config` or '
            '`teacher.checkpoint`, or add `--teacher FILE`'
        )
    else:
        path = options.work_dir / TEACHER
        if read_result(path, settings) is None:
            claim_folder(folder, settings)
            found = run_stage(teacher_config(study, folder, options.workers))
            write_result(path, settings, _of_embeddings(found))
        checkpoint = str(RunRecord(folder).checkpoint)
    files = TeacherFiles(checkpoint)
    if not with_probe:
        return files
    probe, record = folder / 'probe.pth', folder / 'probe.json'
    if read_result(record, settings) is None:
        arm = next(x for x in study.arms if x.method == 'soft_labels')
        arm = replace(arm, method='pretrain')
        folder.mkdir(parents=True, exist_ok=True)
        fit_teacher_probe(
            pretraining_config(study, arm, 0, files, folder, options.workers),
            probe,
        )
        write_result(record, settings, {})
    return TeacherFiles(checkpoint, str(probe))


def _run_parallel(jobs: Sequence[Job], processes: int) -> list[str | None]:
    # The parts of PyTorch that a fork would copy are not made for it.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(processes, context, end_with_parent) as pool:
        futures = [pool.submit(_try, job) for job in jobs]
        try:
            return [future.result() for future in as_completed(futures)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _try(job: Job) -> str | None:
    """Run a job; returns what has gone wrong with it alone."""
    at_once = job.options.jobs
    if at_once > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // at_once))
    try:
        with safe_loading():
            run_arm(job)
    except FloatingPointError as error:
        print_log(f'{job.name} has failed: {error}', 'current')
        return f'{job.name}: {error}'
    except RunStopped:
        study = multiprocessing.parent_process()
        if study is not None and study.pid != os.getppid():
            # The pool would begin the next job, and wait for ever then.
            os._exit(RunStopped.exit_code)
        raise
    return None


def run_arm(job: Job) -> None:
    """Pre-train a student, evaluate and fine-tune it, and write the result.

    What a call before this one has completed is not done again.
    """
    study, seed, workers = job.study, job.seed, job.options.workers
    folder = job.options.work_dir / 'runs' / job.name
    claim_folder(folder, job.settings)
    stage = folder / 'pretrain'
    cfg = pretraining_config(study, job.arm, seed, job.files, stage, workers)
    trained = job.arm.method != 'scratch'
    metrics = _of_embeddings(run_stage(cfg, trained))
    student = None
    if trained:
        student = str(RunRecord(stage).checkpoint)
        metrics.update(training_metrics(stage))
    for name, fraction in (('finetune', 1.0), ('few_labels', FEW_LABELS)):
        stage = folder / name
        classes = job.data['classes']
        cfg = finetuning_config(
            study, student, seed, fraction, classes, stage, workers
        )
        metrics[name] = run_stage(cfg)['accuracy/top1']
        # Nobody needs the fine-tuned weights once they are measured.
        for checkpoint in stage.glob('*.pth'):
            checkpoint.unlink()
    write_result(job.result, job.settings, metrics)


def run_stage(cfg: Config, train: bool = True) -> dict[str, float]:
    """Train and evaluate, unless that has been done; returns the metrics.

    With ``train`` of False random weights are evaluated.
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


def _of_embeddings(found: dict[str, float]) -> dict[str, float]:
    return dict(knn=found['knn/top1'], linear=found['linear/top1'])
