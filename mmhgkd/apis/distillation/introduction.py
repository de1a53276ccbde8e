from collections.abc import Mapping
from pathlib import Path

from mmhgkd.catalog import TWINS, Photos
from mmhgkd.utils.bfloat16 import multiplies_bfloat16

from .plan import Plan
from .teacher import Teacher


def introduce(
    plan: Plan,
    photos: Photos,
    teacher: Teacher,
    reasons: dict[str, str],
    folder: Path,
    millions: float,
    rate: float,
    bfloat16: bool,
    durations: Mapping[str, str],
) -> list[str]:
    """What is going to happen, in at most nine lines.

    The command has said before that it starts.

    Args:
        plan (Plan): What is trained.
        photos (Photos): The photos.
        teacher (Teacher): The teacher.
        reasons (dict[str, str]): Why, by the name of what was chosen.
        folder (Path): Folder of everything that is written.
        millions (float): Parameters of the student.
        rate (float): Learning rate.
        bfloat16 (bool): Whether the training computes in that.
        durations (Mapping[str, str]): How long the trainings that are left
            take, 'distilled' and keys of ``TWINS``.
    """

    def why(name: str) -> str:
        return f' ({reasons[name]})' if name in reasons else ''

    def took(name: str, more: str = '') -> str:
        return f', {durations[name]}{more}' if name in durations else ''

    precision = 'in bfloat16, ' if bfloat16 else ''
    if plan.bfloat16 and not multiplies_bfloat16(plan.device):
        # The run has begun elsewhere.
        precision = 'in single precision instead of bfloat16, '
    lines = [f'photos   {photos.describe()}']
    if photos.classes:
        lines[0] += (
            f'; {len(photos.classes)} folders are taken as classes, for the '
            'comparison at the end only'
        )
    lines.append(f'teacher  {teacher.title}')
    if teacher.warning:
        lines.append(f'WARNING  {teacher.warning}')
    small = photos.shorter_side and photos.shorter_side < plan.image_size
    lines += [
        f'student  {plan.student}{why("student")}, {millions:.1f} M '
        f'parameters, sees {plan.image_size} px'
        f'{why("images")}' + (', more than the photos have' if small else ''),
        f'training {plan.epochs} epoch{"s" if plan.epochs > 1 else ""}'
        f'{why("epochs")}, {plan.steps:,} steps '
        f'of {plan.batch_size}{why("batch")}, {plan.warmup} of them warm-up, '
        f'{plan.views} view{"s" if plan.views > 1 else ""} of each photo'
        f'{why("views")}, learning rate {rate:.2g}',
        f'device   {"GPU" if plan.device == "cuda" else "CPU"}, '
        f'{precision}{plan.workers} '
        f'process{"es" if plan.workers != 1 else ""} for '
        'loading photos' + took('distilled'),
        f'folder   {folder} (the log in it has everything else)',
    ]
    if plan.compare:
        lines.append(
            'compare  the same student, trained for as many steps on '
            + ' and on '.join(
                f'{TWINS[name]}{took(name, " more")}' for name in plan.compare
            )
        )
    if plan.photos < 500:
        lines.append(
            'NOTE     a few hundred photos show whether it works; for a good '
            'student take thousands'
        )
    assert len(lines) <= 9
    return lines
