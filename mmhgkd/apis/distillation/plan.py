import json
import os
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path

import torch

from mmhgkd.catalog import Photos, check_numbers, student_name
from mmhgkd.utils import ConfigError
from mmhgkd.utils.bfloat16 import multiplies_bfloat16

from .student import backbone_of, has_grouped_convolutions, multiply_adds
from .teacher import Teacher

FILE = 'plan.json'
#: Images that a student sees, by device, photos often repeated. On a CPU that
#: leaves two cores well below ten minutes with the small teacher and student.
SHOWN = {'cpu': 8000, 'cuda': 500_000}
#: Fewest and most epochs.
EPOCHS = (3, 100)
#: The recommended recipe has this rate at this batch size.
BATCH_SIZE = 64
LEARNING_RATE = 1e-3
#: A teacher that costs so many times what the student does is asked half as
#: often.
DEARER = 2


@dataclass(frozen=True)
class Plan:
    """What is trained, and for how long."""

    photos: int
    student: str
    teacher: str
    device: str
    image_size: int
    batch_size: int
    epochs: int
    warmup: int  #: steps
    workers: int
    seed: int
    views: int = 1  #: of each photo, for one pass of the teacher
    compare: list[str] = field(default_factory=list)  #: keys of `TWINS`
    bfloat16: bool = False  #: what the training computes in

    @property
    def epoch_length(self) -> int:
        """Steps of an epoch; an incomplete batch is left out."""
        return max(1, self.photos // self.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the training."""
        return self.epochs * self.epoch_length

    @property
    def learning_rate(self) -> float:
        """In proportion to the images that the student sees in a step."""
        return LEARNING_RATE * self.views * self.batch_size / BATCH_SIZE

    def save(self, folder: Path) -> None:
        """Keep the plan, for a run that is resumed."""
        text = json.dumps(asdict(self), indent=2)
        (folder / FILE).write_text(text + '\n', encoding='utf-8')

    @classmethod
    def load(cls, folder: Path) -> 'Plan | None':
        """Read the plan of a run; None where there is none."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding='utf-8')))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f'cannot read {path} ({error}); delete {folder} or choose '
                'another folder'
            ) from error


def make_plan(
    photos: Photos,
    teacher: Teacher,
    name: str,
    student: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    views: int | None = None,
    bfloat16: bool | None = None,
) -> tuple[Plan, dict[str, str]]:
    """Choose what was left open.

    Args:
        photos (Photos): The photos.
        teacher (Teacher): The teacher.
        name (str): What was asked for as the teacher.
        student (str, optional): A key of ``STUDENTS``. Defaults to None: a
            ResNet-18 for few photos or a CPU, else a ResNet-50.
        epochs (int, optional): Defaults to None: so many that the student
            sees as many images, however few photos there are.
        batch_size (int, optional): Defaults to None: 64, of two views 32, or
            less for a set that would not fill eight batches.
        image_size (int, optional): Side of the student's images in pixels.
            Defaults to None: 224 on a GPU, 96 on a CPU, and the only one
            where the teacher has one.
        workers (int, optional): Processes that load photos. Defaults to None:
            by the number of cores.
        seed (int): Defaults to 0.
        views (int, optional): How often the student sees a photo for one pass
            of the teacher. Defaults to None: twice where the teacher costs
            at least ``DEARER`` times what the student does.
        bfloat16 (bool, optional): Whether the training computes in that.
            Defaults to None: where the device has products of it. A CPU takes
            longer by it for grouped convolutions.

    Returns:
        tuple[Plan, dict[str, str]]: The plan, and why, by the name of what
        was chosen.

    Raises:
        ConfigError: If a value is out of range.
    """
    check_numbers(
        dict(
            epochs=epochs,
            batch_size=batch_size,
            image_size=image_size,
            workers=workers,
            seed=seed,
            views=views,
        )
    )
    number = len(photos.training)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    reasons = {}
    if image_size is None:
        image_size = teacher.image_size or (224 if device == 'cuda' else 96)
        reasons['images'] = (
            'the size of this teacher'
            if teacher.image_size
            else f'usual on a {"GPU" if device == "cuda" else "CPU"}'
        )
    if image_size < 64 or image_size % 32:
        raise ConfigError(
            '`image_size` must be a multiple of 32 px and at least 64, got '
            f'{image_size}'
        )
    if student is None:
        large = device == 'cuda' and number >= 20_000
        student = 'resnet50' if large else 'resnet18'
        reasons['student'] = (
            'for many photos and a GPU'
            if large
            else 'the quick one'
            if device == 'cpu'
            else 'enough for this many photos'
        )
    student = student_name(student)
    network = backbone_of(student)
    if views is None:
        cost = multiply_adds(network, image_size)
        ratio = teacher.multiply_adds(image_size) / cost
        views = 2 if ratio >= DEARER else 1
        reasons['views'] = (
            f'the teacher has {ratio:.1f} times the multiply-adds of the '
            'student'
        )
    if batch_size is None:
        batch_size = max(BATCH_SIZE // views, 8)
        while batch_size > 8 and number < 8 * batch_size:
            batch_size //= 2
        batch_size = min(batch_size, number)
        reasons['batch'] = 'at least eight batches an epoch'
    if not 2 <= batch_size <= number:
        raise ConfigError(
            f'`batch_size` must lie in 2..{number}, the number of photos, got '
            f'{batch_size}'
            if number > 1
            else 'one photo is too few to learn from; give some hundreds'
        )
    if epochs is None:
        wanted = SHOWN[device] // (number * views)
        epochs = min(max(wanted, EPOCHS[0]), EPOCHS[1])
        reasons['epochs'] = (
            f'to show about {epochs * number * views:,} images, photos '
            'repeated'
        )
    if workers is None:
        workers = min(8, max(1, (os.cpu_count() or 2) - 1))
    steps = epochs * max(1, number // batch_size)
    # A twentieth, but long enough for the running averages of the optimizer.
    warmup = min(max(ceil(steps / 20), 20), steps // 4, 2000)
    if bfloat16 is None:
        bfloat16 = multiplies_bfloat16(device) and (
            device == 'cuda' or not has_grouped_convolutions(network)
        )
    plan = Plan(
        number,
        student,
        str(name),
        device,
        image_size,
        batch_size,
        epochs,
        warmup,
        workers,
        seed,
        views,
        bfloat16=bfloat16,
    )
    return plan, reasons
