import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmhgkd.catalog import Photos, find_photos, student_name
from mmhgkd.catalog.teachers import SHIPPED
from mmhgkd.report import RunRecord, html_report
from mmhgkd.runner import (
    command_line,
    fall_back_to_full_precision,
    safe_loading,
)
from mmhgkd.utils import preflight

from .distillation import (
    Distillation,
    Judge,
    QuietRunner,
    Teacher,
    choose_teacher,
    distillation_config,
    make_plan,
    read_teacher,
    teacher_training_config,
)
from .distillation.checks import check_folder, check_options, check_photos
from .distillation.introduction import introduce
from .distillation.pictures import save_neighbors, save_panel
from .distillation.results import (
    CHECKPOINT,
    drop_checkpoints,
    export_all,
    keep_weights,
)
from .distillation.start_weights import (
    set_start_weights,
    write_start_weights,
)
from .distillation.teacher import shipped_teacher

Say = Callable[[str], None]
PANEL, NEIGHBORS = 'panel.png', 'neighbors.png'
#: Images that the pre-training of a teacher takes, fewest and most epochs.
TEACHER_SHOWN, TEACHER_EPOCHS = 60_000, (20, 300)


@safe_loading()
def distill(
    images: Any,
    out: str | Path,
    student: str | None = None,
    teacher: str | Path = 'auto',
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | None = None,
    train_teacher: bool = False,
    student_weights: str | Path | None = None,
    workers: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    config: str | Path | None = None,
    options: dict[str, Any] | None = None,
    export: bool = True,
    say: Say | None = None,
    views: int | None = None,
) -> Distillation:
    """Distil a student on images without labels, and judge it.

    Labels are read by the comparison at the end only, where the images lie in
    one folder a class. A sub-folder ``val`` beside ``train`` is not trained
    on.

    Args:
        images (str or PathLike or Sequence): A folder, images at any depth; a
            pattern, a file with a path a line; or a list of files, PIL images
            or RGB arrays ``(H, W, 3)`` in 0..255.
        out (str or Path): Folder for everything that is written.
        student (str, optional): A key of ``STUDENTS``, or a network of a
            library, such as 'timm/regnety_002'. Defaults to None, which means
            one that goes with the number of images.
        teacher (str or Path): Name of a teacher (``mmhgkd teachers`` lists
            them), a checkpoint, or 'auto': one that is on this machine, else
            the small one of this project, which has seen drawn scenes only.
            Defaults to 'auto'.
        epochs (int, optional): Length of the training. Defaults to None,
            which means one that goes with the number of images.
        batch_size (int, optional): The learning rate follows it. Defaults to
            None, which means 64, or less for few images.
        image_size (int, optional): Side of what the student sees in pixels.
            Defaults to None: 224 on a GPU, 96 on a CPU, or the teacher's.
        train_teacher (bool): Whether to pre-train a small teacher on the
            images first. Defaults to False.
        student_weights (str or Path, optional): Weights that the student
            starts from. Defaults to None, which means random ones.
        workers (int, optional): Processes that load images. Defaults to
            None, which means by the number of cores.
        seed (int, optional): Defaults to None, which means 0.
        resume (bool): Whether to go on with what lies in ``out``.
            Defaults to False.
        config (str or Path, optional): Another recipe, by name or file, with
            ``head.direct_loss`` as its loss. Defaults to None, which means
            the recommended one.
        options (dict, optional): Further changes of the config by dotted
            key. Defaults to None.
        export (bool): Whether to write files for torchvision, timm and ONNX.
            Defaults to True.
        say (Callable, optional): Is given each line for a person, such as
            ``print``. Defaults to None, which is quiet.
        views (int, optional): How often the student sees a photo for one pass
            of the teacher. Defaults to None: twice where the teacher costs
            at least twice what the student does.

    Returns:
        Distillation: Paths and metrics. It serves as the path of the
        checkpoint, such as in ``load_student(result)``.

    Raises:
        ConfigError: If images, teacher or options do not exist or fit.
    """
    folder = Path(out).expanduser()
    tell = say or (lambda line: None)
    asked = dict(
        student=student and student_name(student),
        teacher=None if str(teacher) == 'auto' else str(teacher),
        epochs=epochs,
        batch_size=batch_size,
        image_size=image_size,
        seed=seed,
        views=views,
    )
    old = check_folder(folder, resume, asked)
    photos = find_photos(images, folder / 'images')
    check_options(options)
    folder.mkdir(parents=True, exist_ok=True)
    if old is not None:
        finished = Distillation.read(folder)
        if finished is not None:
            tell(f'{folder} is finished already; nothing is left to do')
            return finished
        check_photos(old, photos)
    name = str(teacher)
    if train_teacher or (old and old.teacher == 'trained'):
        name = 'trained'
        chosen = _train_teacher(photos, folder, workers, seed or 0, tell)
    elif old is not None and name == 'auto':
        chosen = choose_teacher(old.teacher)
        name = old.teacher
    else:
        chosen = choose_teacher(teacher)
        if name == 'auto':
            name = chosen.config.get('model_name', SHIPPED)

    def kept(option: str, value: Any) -> Any:
        if value is None and old is not None:
            return getattr(old, option)
        return value

    plan, reasons = make_plan(
        photos,
        chosen,
        name,
        kept('student', student),
        kept('epochs', epochs),
        kept('batch_size', batch_size),
        kept('image_size', image_size),
        workers,
        kept('seed', seed) or 0,
        kept('views', views),
    )
    cfg = distillation_config(plan, photos, chosen, folder, config, options)
    if student_weights is not None:
        weights = write_start_weights(
            student_weights, cfg, folder / 'start_weights.pth'
        )
        set_start_weights(cfg, weights)
    plan.save(folder)
    judge = Judge(cfg, photos, plan.device, plan.seed, plan.workers)
    with _quiet():
        model = judge.build_model()
    millions = sum(p.numel() for p in model.backbone.parameters()) / 1e6
    rate = cfg.optim_wrapper.optimizer.lr
    for line in introduce(
        plan, photos, chosen, reasons, folder, millions, rate
    ):
        tell(line)
    with _quiet():
        before, taught = judge.embed(model)
        if resume:
            cfg.resume = 'auto'
        _train(cfg, say is not None)
    result = Distillation(folder, folder / CHECKPOINT)
    keep_weights(_last_checkpoint(folder), result.checkpoint)
    tell('Comparing student and teacher')
    with _quiet():
        model = judge.build_model(result.checkpoint)
        after, _ = judge.embed(model)
        start = 'start weights' if student_weights else 'untrained'
        result.metrics = judge.compare(
            {start: before, 'distilled': after}, taught
        )
        save_panel(folder / PANEL, judge, model)
        save_neighbors(
            folder / NEIGHBORS,
            judge.files,
            {start: before, 'distilled': after, 'teacher': taught},
        )
        if export:
            tell('Writing the student for torchvision, timm and ONNX')
            result.exports, result.notes = export_all(result.checkpoint)
        if judge.unreadable:
            result.notes.append(
                f'{judge.unreadable} photos could not be read for the '
                'comparison'
            )
    result.report = folder / 'report.html'
    result.save()
    drop_checkpoints(folder)
    result.report.write_text(html_report(RunRecord(folder)), encoding='utf-8')
    return result


def _train_teacher(
    photos: Photos, folder: Path, workers: int | None, seed: int, tell: Say
) -> Teacher:
    """Pre-train a small MAE on the photos, if that is not done yet."""
    out = folder / 'teacher'
    done = out / 'teacher.pth'
    if not done.is_file():
        sketch = shipped_teacher()
        plan, _ = make_plan(
            photos, sketch, 'trained', None, 1, None, None, workers, seed, 1
        )
        fewest, most = TEACHER_EPOCHS
        epochs = min(max(TEACHER_SHOWN // plan.photos, fewest), most)
        cfg = teacher_training_config(plan, photos, epochs, out)
        cfg.resume = 'auto'
        tell(
            f'Training a small teacher (MAE, 2.3 M parameters) on the photos '
            f'first: {epochs} epochs, log in {out}'
        )
        with _quiet():
            _train(cfg, True)
        keep_weights(_last_checkpoint(out), done)
        for path in out.glob('epoch_*.pth'):
            path.unlink()
    return read_teacher(done)


def _train(cfg: Config, progress: bool) -> None:
    if progress:
        cfg.custom_hooks = [
            *(cfg.get('custom_hooks') or []),
            dict(type='mmhgkd.ProgressHook', plain=True),
        ]
    fall_back_to_full_precision(cfg)
    preflight.check_config(cfg, ('train_dataloader',))
    command_line.build_runner(cfg, QuietRunner).train()


def _last_checkpoint(folder: Path) -> Path:
    return Path((folder / 'last_checkpoint').read_text().strip())


@contextmanager
def _quiet() -> Iterator[None]:
    """Send all but errors to the log of the run."""
    logging.captureWarnings(True)
    current = MMLogger.get_current_instance()
    for handler in current.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)
    logger = logging.getLogger('py.warnings')
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    try:
        yield
    finally:
        logging.captureWarnings(False)
