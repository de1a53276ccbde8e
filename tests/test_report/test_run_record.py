import json
from collections.abc import Callable
from pathlib import Path

import pytest
from log_rows import evaluation_row, training_row

from mmhgkd.report import RunRecord
from mmhgkd.utils import ConfigError

Write = Callable[..., Path]


def test_log_by_epoch(write_run: Write) -> None:
    record = RunRecord(
        write_run(
            'run',
            [
                training_row(8, 1, loss=4.0),
                training_row(10, 1, loss=3.0),
                evaluation_row(1, top1=20.0),
                training_row(18, 2, loss=2.0),
                training_row(20, 2, loss=1.0),
                evaluation_row(2, top1=30.0, top5=60.0),
            ],
        )
    )
    assert record.name == 'run' and record.by_epoch
    assert record.epoch_length == 10
    assert record.series('loss') == ([8, 10, 18, 20], [4, 3, 2, 1])
    assert record.series('top1') == ([10, 20], [20, 30])
    assert record.series('nothing') == ([], [])
    assert record.final_metrics == dict(top1=30, top5=60)
    assert record.environment == {
        'sys.platform': 'linux',
        'PyTorch': '2.14',
        'seed': '0',
        'GPU number': '2',
    }
    assert record.seconds_per_iteration == 0.5
    assert record.images_per_second == 2 * 64 / 0.5


def test_log_by_iteration(write_run: Write) -> None:
    record = RunRecord(
        write_run(
            'run',
            [
                training_row(100, loss=4.0),
                evaluation_row(100, mIoU=20.0),
                training_row(200, loss=3.0),
                evaluation_row(200, mIoU=25.0),
            ],
        )
    )
    assert not record.by_epoch
    assert record.series('mIoU') == ([100, 200], [20, 25])


def test_resumed_run_replaces_what_it_repeats(write_run: Write) -> None:
    first = [
        row
        for epoch in (1, 2, 3)
        for row in (
            training_row(10 * epoch, epoch, loss=10.0 + epoch),
            evaluation_row(epoch, top1=float(epoch)),
        )
    ]
    write_run('run', first)
    record = RunRecord(
        write_run(
            'run',
            [
                training_row(30, 3, loss=3.0),
                evaluation_row(3, top1=33.0),
                training_row(40, 4, loss=4.0),
            ],
            start='20260102_000000',
        )
    )
    assert record.series('loss') == ([10, 20, 30, 40], [11, 12, 3, 4])
    assert record.series('top1') == ([10, 20, 30], [1, 2, 33])
    # And once more from the beginning.
    record = RunRecord(
        write_run(
            'run', [training_row(10, 1, loss=9.0)], start='20260103_000000'
        )
    )
    assert record.series('loss') == ([10], [9])
    assert record.evaluations == {}


def test_evaluation_alone(write_run: Write) -> None:
    record = RunRecord(write_run('run', [evaluation_row(0, top1=12.0)]))
    assert record.final_metrics == dict(top1=12)
    assert record.images_per_second is None
    assert record.series('top1') == ([0], [12])


def test_half_a_line_of_a_killed_run(write_run: Write) -> None:
    record = RunRecord(
        write_run('run', [training_row(10, 1, loss=1.0), '{"loss": 0.'])
    )
    assert record.series('loss') == ([10], [1])


def test_results_of_a_test(write_run: Write) -> None:
    folder = write_run('run', [training_row(10, 1, loss=1.0)])
    path = folder / '20260103_000000' / '20260103_000000.json'
    path.parent.mkdir()
    path.write_text(json.dumps(dict(top1=77.0, time=0.1, names=['a'])))
    assert RunRecord(folder).test_results == dict(top1=77)


def test_checkpoint_of_a_moved_folder(write_run: Write) -> None:
    folder = write_run('run', [training_row(10, 1)])
    with pytest.raises(ConfigError, match='holds no checkpoint'):
        _ = RunRecord(folder).checkpoint
    elsewhere = folder.parent / 'epoch_1.pth'
    elsewhere.touch()  # of the run that this folder is a copy of
    (folder / 'last_checkpoint').write_text(str(elsewhere))
    with pytest.raises(ConfigError, match='holds no checkpoint'):
        _ = RunRecord(folder).checkpoint
    (folder / 'epoch_1.pth').touch()
    assert RunRecord(folder).checkpoint == folder / 'epoch_1.pth'


def test_pictures_of_folder_and_hooks(write_run: Write) -> None:
    folder = write_run('run', [training_row(10, 1)])
    hook = folder / '20260101_000000' / 'vis_data' / 'vis_image'
    hook.mkdir()
    for path in (
        hook / 'panel_1.png',
        folder / 'b.png',
        folder / 'a.jpg',
        folder / 'note.txt',
    ):
        path.touch()
    assert [path.name for path in RunRecord(folder).pictures] == [
        'a.jpg',
        'b.png',
        'panel_1.png',
    ]


def test_bad_folders(write_run: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='there is no folder'):
        RunRecord(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ConfigError, match='holds no log'):
        RunRecord(tmp_path / 'empty')
    folder = write_run('broken', [training_row(10, 1)], config='model = (')
    with pytest.raises(ConfigError, match='cannot read the config'):
        _ = RunRecord(folder).config


@pytest.mark.parametrize(
    ('stored', 'found'),
    [
        ('/gone/configs/_base_/models/../../{shipped}', 'configs/{shipped}'),
        ('/gone/out/teacher/teacher.pth', 'run/teacher/teacher.pth'),
        ('/gone/teacher/teacher.pth', None),
        ('/gone/configs/mae/other.pth', None),
    ],
)
def test_weights_of_a_run_that_was_moved(
    write_run: Write, stored: str, found: str | None
) -> None:
    shipped = 'mae/vit-micro_scenes.safetensors'
    stored = stored.format(shipped=shipped)
    config = "work_dir = '/gone/out'\nmodel = dict(teacher=dict(checkpoint="
    folder = write_run('run', [], config=f'{config}{stored!r}))')
    (folder / 'teacher').mkdir()
    (folder / 'teacher' / 'teacher.pth').touch()
    path = RunRecord(folder).config.model.teacher.checkpoint
    if found is None:
        assert path == stored
    else:
        assert path.endswith(found.format(shipped=shipped))
        assert Path(path).is_file()
