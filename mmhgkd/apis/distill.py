from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmhgkd.catalog import (
    TWINS,
    Photos,
    check_numbers,
    find_photos,
    student_name,
    twin_names,
)
from mmhgkd.catalog.teachers import SHIPPED
from mmhgkd.runner import safe_loading
from mmhgkd.utils.preflight import computes_bfloat16

from .distillation import (
    Distillation,
    Judge,
    Teacher,
    choose_teacher,
    distillation_config,
    make_plan,
    make_twin,
    read_teacher,
    teacher_training_config,
)
from .distillation.checks import (
    check_folder,
    check_labels,
    check_options,
    check_photos,
    make_folder,
)
from .distillation.duration import guess_duration
from .distillation.introduction import introduce
from .distillation.judge import build_training
from .distillation.pictures import save_epochs, save_neighbors, save_panel
from .distillation.results import (
    CHECKPOINT,
    export_all,
    finish,
    keep_weights,
)
from .distillation.start_weights import (
    set_start_weights,
    write_start_weights,
)
from .distillation.teacher import shipped_teacher
from .distillation.training import (
    last_checkpoint,
    quiet,
    train,
    train_aside,
)

Say = Callable[[str], None]
PANEL, NEIGHBORS = 'panel.png', 'neighbors.png'
BEFORE = 'neighbors_before.png'
START_WEIGHTS = 'start_weights.pth'
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
    compare: str | Iterable[str] | None = None,
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
        compare (str or Iterable[str], optional): What else to train the same
            student on for as many steps, as rows of the comparison: 'pixels'
            (SparK) and 'supervised', which needs one folder a class.
            Defaults to None, which means nothing.

    Returns:
        Distillation: Paths and metrics. It serves as the path of the
        checkpoint, such as in ``load_student(result)``.

    Raises:
        ConfigError: If images, teacher or options do not exist or fit.
    """
    tell = say or (lambda line: None)
    asked = dict(
        student=None if student is None else student_name(student),
        teacher=None if str(teacher) == 'auto' else str(teacher),
        epochs=epochs,
        batch_size=batch_size,
        image_size=image_size,
        seed=seed,
        views=views,
    )
    check_numbers({**asked, 'workers': workers})
    folder, old = check_folder(out, resume, asked)
    if resume and old is None:
        tell(f'{folder} holds nothing to go on with; a new run begins')
    photos = find_photos(images, folder / 'images', folder)
    check_options(options)
    names = twin_names(compare, photos, old.compare if old else ())
    make_folder(folder)
    if old is not None:
        finished = Distillation.read(folder)
        if finished is not None and set(names) <= set(finished.metrics):
            tell(f'{folder} is finished already; nothing is left to do')
            if finished.report is None or not finished.report.is_file():
                finish(finished)  # it was stopped by the last step
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
        kept('bfloat16', None),
    )
    cfg = distillation_config(plan, photos, chosen, folder, config, options)
    started = folder / START_WEIGHTS
    if student_weights is None and old is not None and started.is_file():
        student_weights = started
    if student_weights is not None:
        set_start_weights(
            cfg, write_start_weights(student_weights, cfg, started)
        )
    plan = replace(plan, compare=names)
    judge = Judge(cfg, photos, plan.device, plan.seed, plan.workers)
    check_labels(judge, names, photos)
    twins = [
        make_twin(twin, cfg, plan, photos, judge.queries, folder)
        for twin in names
    ]
    plan.save(folder)
    result = Distillation(folder, folder / CHECKPOINT)
    is_trained = old is not None and result.checkpoint.is_file()
    durations = {}
    bfloat16 = computes_bfloat16(cfg)
    with quiet():
        model = judge.build_model()
        if not resume:
            durations['distilled'] = guess_duration(model, plan, bfloat16)
        for twin in twins:
            if not twin.checkpoint.is_file():
                network = build_training(twin.config).to(judge.device)
                durations[twin.name] = guess_duration(
                    network, twin.plan, bfloat16
                )
    millions = sum(p.numel() for p in model.backbone.parameters()) / 1e6
    rate = cfg.optim_wrapper.optimizer.lr
    for line in introduce(
        plan,
        photos,
        chosen,
        reasons,
        folder,
        millions,
        rate,
        bfloat16,
        durations,
    ):
        tell(line)
    with quiet():
        before, taught = judge.embed(model)
        if resume:
            cfg.resume = 'auto'
        if not is_trained:
            train(cfg, say is not None)
    if not is_trained:
        keep_weights(last_checkpoint(folder), result.checkpoint)
    for twin in twins:
        if not twin.checkpoint.is_file():
            tell(f'Training the same student on {TWINS[twin.name]}')
            train_aside(twin.config, twin.checkpoint, say is not None)
    tell('Comparing student and teacher')
    start = 'start weights' if student_weights else 'untrained'
    with quiet():
        model = judge.build_model()
        found = {
            twin.name: judge.embed_twin(model, twin.checkpoint)
            for twin in twins
        }
        model = judge.build_model(result.checkpoint)
        (after,) = judge.embed(model, with_teacher=False)
        rows = {
            start: before,
            'pixels': found.get('pixels'),
            'distilled': after,
            'teacher': taught,
            'supervised': found.get('supervised'),
        }
        result.metrics = judge.compare(
            {name: row for name, row in rows.items() if row is not None},
            taught,
        )
        save_panel(folder / PANEL, judge, model)
        save_epochs(folder)
        result.changed = judge.changed(before, after)
        nearest = {'nearest by the student': after}
        save_neighbors(folder / NEIGHBORS, judge.files, nearest, 5)
        before_after = {start: before, 'distilled': after, 'teacher': taught}
        save_neighbors(folder / BEFORE, judge.files, before_after)
        if export:
            tell('Writing the student for torchvision, timm and ONNX')
            result.exports, result.notes = export_all(result.checkpoint)
        if result.changed is None:
            result.notes.append(
                f'{len(judge.files)} photos are too few to compare neighbors'
            )
        if judge.unreadable:
            result.notes.append(
                f'{judge.unreadable} photos could not be read for the '
                'comparison'
            )
    finish(result)
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
        tell(
            f'Training a small teacher (MAE, 2.3 M parameters) on the photos '
            f'first: {epochs} epochs, log in {out}'
        )
        train_aside(cfg, done, True)
    return read_teacher(done)
