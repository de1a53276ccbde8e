import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmhgkd.registry import MODELS
from mmhgkd.runner import RunError, safe_loading
from mmhgkd.utils import ConfigError
from mmhgkd.utils.build_errors import clear_build_errors

from .results import claim_folder, read_result, result_path, write_result
from .run_arm import arm_settings, last_checkpoint, run_arm, run_stage
from .stage_configs import (
    TeacherFiles,
    count_images,
    finetuning_config,
    pretraining_config,
    teacher_config,
)
from .study_file import Arm, Study
from .teacher_probe import fit_teacher_probe

TEACHER = 'teacher.json'
Job = tuple[Arm, int]


@dataclass
class StudyOptions:
    """How a study is run, which its results do not depend on.

    Args:
        work_dir (Path): Receives everything.
        arms (Sequence[str], optional): Names of the arms to run. Defaults to
            None, which means all.
        seeds (Sequence[int], optional): Seeds to run. Defaults to None, which
            means those of the study.
        jobs (int): Arms that are run at once, each in its own process.
            Defaults to 1, which runs all in this process.
        workers (int, optional): Processes that load images for each job.
            Defaults to None, which means as many as in the configs.
    """

    work_dir: Path
    arms: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    jobs: int = 1
    workers: int | None = None


def run_study(study: Study, options: StudyOptions) -> None:
    """Run the arms of a study that have no result yet.

    Args:
        study (Study): The study.
        options (StudyOptions): What to run, and how.

    Raises:
        ConfigError: If study, data or options do not fit.
        RunError: If arms have failed; the others have been run.
    """
    if options.jobs < 1:
        raise ConfigError(f'--jobs must be at least 1, got {options.jobs}')
    data = count_images(study.data_root)
    pending = [
        (arm, seed)
        for arm in choose_arms(study, options.arms)
        for seed in options.seeds or study.seeds
        if read_result(
            result_path(options.work_dir, arm.name, seed),
            arm_settings(study, arm, seed, data),
        )
        is None
    ]
    if not pending:
        print_log('all results are there', 'current')
        return
    check_arms(study, [arm for arm, _ in pending], data['classes'])
    with_probe = any(arm.method == 'soft_labels' for arm, _ in pending)
    files = prepare_teacher(study, options, data, with_probe)
    if options.jobs == 1:
        outcomes = [_try(study, job, files, data, options) for job in pending]
    else:
        outcomes = _run_parallel(study, pending, files, data, options)
    failures = [outcome for outcome in outcomes if outcome]
    if failures:
        raise RunError(
            f'{len(failures)} of {len(pending)} runs have failed: '
            f'{"; ".join(failures)}'
        )


def choose_arms(study: Study, names: Sequence[str] | None) -> list[Arm]:
    """Arms by their names, in the order of the study.

    Raises:
        ConfigError: If there is no such arm.
    """
    known = [arm.name for arm in study.arms]
    for name in names or ():
        if name not in known:
            raise ConfigError(
                f'the study has no arm `{name}`; its arms are '
                f'{", ".join(known)}'
            )
    return [arm for arm in study.arms if names is None or arm.name in names]


def check_arms(study: Study, arms: Sequence[Arm], classes: int) -> None:
    """Build every model once: hours later is too late to find a mistake.

    Raises:
        ConfigError: If one cannot be built.
    """
    checked = []
    for arm in arms:
        if arm in checked:
            continue
        checked.append(arm)
        cfg = pretraining_config(
            study, arm, 0, TeacherFiles(), Path('check'), None
        )
        if arm.method == 'soft_labels':  # its probe is fitted later
            continue
        _build(f'arm `{arm.name}`', cfg)
    _build(
        '`finetune`',
        finetuning_config(study, None, 0, 1.0, classes, Path('check'), None),
    )


def prepare_teacher(
    study: Study, options: StudyOptions, data: dict[str, int], with_probe: bool
) -> TeacherFiles:
    """Train the teacher, and fit its probe, unless that has been done.

    Raises:
        ConfigError: If the study names no teacher, or another one was trained
            before.
    """
    folder = options.work_dir / 'teacher'
    teacher = study.teacher
    settings = dict(teacher=asdict(teacher), data=data)
    checkpoint = teacher.checkpoint
    if checkpoint is not None:
        if not Path(checkpoint).is_file():
            raise ConfigError(
                f'the teacher `{checkpoint}` does not exist; '
                'add `--teacher FILE`'
            )
    elif teacher.config is None:
        raise ConfigError(
            'the study has no teacher; set `teacher.config` or '
            '`teacher.checkpoint`, or add `--teacher FILE`'
        )
    else:
        path = options.work_dir / TEACHER
        if read_result(path, settings) is None:
            claim_folder(folder, settings)
            found = run_stage(teacher_config(study, folder, options.workers))
            write_result(
                path,
                settings,
                dict(knn=found['knn/top1'], linear=found['linear/top1']),
            )
        checkpoint = str(last_checkpoint(folder))
    if not with_probe:
        return TeacherFiles(checkpoint)
    probe = folder / 'probe.pth'
    record = folder / 'probe.json'
    if read_result(record, settings) is None:
        arm = next(x for x in study.arms if x.method == 'soft_labels')
        cfg = pretraining_config(
            study,
            replace(arm, method='pretrain'),
            0,
            TeacherFiles(checkpoint),
            folder,
            options.workers,
        )
        folder.mkdir(parents=True, exist_ok=True)
        fit_teacher_probe(cfg, probe)
        write_result(record, settings, {})
    return TeacherFiles(checkpoint, str(probe))


def _run_parallel(
    study: Study,
    pending: Sequence[Job],
    files: TeacherFiles,
    data: dict[str, int],
    options: StudyOptions,
) -> list[str | None]:
    # The parts of PyTorch that a fork would copy are not made for it.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(options.jobs, context) as pool:
        futures = [
            pool.submit(_try, study, job, files, data, options)
            for job in pending
        ]
        try:
            return [future.result() for future in as_completed(futures)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _try(
    study: Study,
    job: Job,
    files: TeacherFiles,
    data: dict[str, int],
    options: StudyOptions,
) -> str | None:
    """Run a job; returns what has gone wrong with it alone."""
    arm, seed = job
    if options.jobs > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.jobs))
    name = f'{arm.name}_seed{seed}'
    try:
        with safe_loading():
            run_arm(
                study,
                arm,
                seed,
                files,
                data,
                options.work_dir / 'runs' / name,
                result_path(options.work_dir, arm.name, seed),
                options.workers,
            )
    except FloatingPointError as error:
        print_log(f'{name} has failed: {error}', 'current')
        return f'{name}: {error}'
    return None


def _build(where: str, cfg: Config) -> None:
    model: dict[str, Any] = dict(cfg.model)
    model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        with (
            clear_build_errors(),
            DefaultScope.overwrite_default_scope(cfg.default_scope),
        ):
            MODELS.build(model)
    except ConfigError as error:
        raise ConfigError(f'{where}: {error}') from error
