import multiprocessing
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmhgkd.registry import MODELS
from mmhgkd.report import RunRecord
from mmhgkd.runner import safe_loading
from mmhgkd.utils import ConfigError, RunError, RunStopped
from mmhgkd.utils.build_errors import clear_build_errors
from mmhgkd.utils.end_with_parent import end_with_parent

from .peer_arm import PeerError
from .results import (
    TEACHER,
    claim_folder,
    read_result,
    write_result,
)
from .run_arm import Job, StudyOptions, of_embeddings, run_arm, run_stage
from .soft_labels import fit_teacher_probe
from .stage_configs import (
    TeacherFiles,
    count_images,
    detection_config,
    finetuning_config,
    pretraining_config,
    teacher_config,
)
from .study_file import PEER_METHODS, Arm, Study


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
    if any(job.arm.method in PEER_METHODS for job in jobs):
        check_peers(options.peers)
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
        cfg = pretraining_config(
            study, arm, 0, TeacherFiles(), classes, folder, None
        )
        if arm.method != 'soft_labels':  # its probe is fitted later
            _build(f'arm `{arm.name}`', cfg)
    if study.finetune:
        cfg = finetuning_config(study, None, 0, 1.0, classes, folder, None)
        _build('`finetune`', cfg)
    if study.detect:
        _build('`detect`', detection_config(study, None, 0, folder, None))


def check_peers(python: str | None) -> None:
    """Check that lightly-train can be called.

    Raises:
        ConfigError: If it cannot.
    """
    advice = (
        'give the Python of the environment that has it by --peers, see '
        'docs/peers.md, or leave these arms out by --arms'
    )
    if python is None:
        raise ConfigError(f'the study has arms of lightly-train; {advice}')
    try:
        code = subprocess.run(
            [python, '-c', 'import lightly_train'], capture_output=True
        ).returncode
    except OSError as error:
        raise ConfigError(
            f'--peers {python}: {error.strerror}; {advice}'
        ) from error
    if code:
        raise ConfigError(f'--peers {python}: has no lightly-train; {advice}')


def _build(where: str, cfg: Config) -> None:
    model = dict(cfg.model)
    # A detector has its own already.
    if 'data_preprocessor' in cfg:
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
            write_result(path, settings, of_embeddings(found))
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
            pretraining_config(
                study,
                arm,
                0,
                files,
                data['classes'],
                folder,
                options.workers,
            ),
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
    except (FloatingPointError, PeerError) as error:
        print_log(f'{job.name} has failed: {error}', 'current')
        return f'{job.name}: {error}'
    except RunStopped:
        study = multiprocessing.parent_process()
        if study is not None and study.pid != os.getppid():
            # The pool would begin the next job, and wait for ever then.
            os._exit(RunStopped.exit_code)
        raise
    return None
