"""Draw the features of several students of the same photos side by side.

The columns are the photos, the student of the last run before its training,
the trained student of each run, and the teacher of the last run.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mmhgkd.report import RunRecord, run_labels
from mmhgkd.runner import command_line
from mmhgkd.teachers import PixelTeacher
from mmhgkd.utils import ConfigError
from mmhgkd.visualization import (
    student_features,
    student_panel,
    teacher_features,
)
from mmhgkd.visualization import trained_model as trained
from mmhgkd.visualization.model_panel import to_unit_range


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; returns the exit code."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('work_dirs', nargs='+', help='work folders of distillations')
    add('--names', nargs='+', help='titles; default to those of the folders')
    files = 'image files; without any, images of the evaluation data'
    add('--images', nargs='+', help=files)
    add('--num-images', type=int, default=4, help='defaults to 4')
    add('--size', type=int, help=trained.SIZE_HELP)
    target = 'file to write; defaults to students.png in the last folder'
    add('--out', help=target)
    args = parser.parse_args(argv)
    try:
        records = [RunRecord(work_dir) for work_dir in args.work_dirs]
        names = args.names or run_labels(records)
        if len(set(names)) != len(records):
            raise ConfigError(
                f'`--names` needs {len(records)} different names, one a run'
            )
        models = [trained.load_trained_model(record) for record in records]
        last, record = models[-1], records[-1]
        size = trained.set_image_size(last, record.config, args.size)
        if args.images:
            inputs = trained.file_inputs(last, args.images, size)
        elif args.size is None:
            inputs = trained.run_inputs(record, last, args.num_images)
        else:
            raise ConfigError('`--size` is for image files; name some')
        images = to_unit_range(last, inputs)
        untrained = trained.untrained_model(record)
        columns = {'Untrained': student_features(untrained, images)}
        for name, model in zip(names, models, strict=True):
            columns[name] = student_features(model, images)
        if not isinstance(last.teacher, PixelTeacher):
            columns['Teacher'] = teacher_features(last, images)
        file = Path(args.out or record.folder / 'students.png')
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(student_panel(images, columns)).save(file)
    except (OSError, ValueError) as error:
        return command_line.report(error)
    print(f'{len(images)} images drawn to {file}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
