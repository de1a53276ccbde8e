from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmhgkd.hooks import WholeCheckpointHook
from mmhgkd.utils import ConfigError, RunError
from mmhgkd.utils.whole_file import WholeFileBackend


class Runner(SimpleNamespace):
    """As much of a runner as the hook needs."""

    hooks: tuple = ()

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        *args: Any,
        backend_args: dict,
        **kwargs: Any,
    ) -> None:
        # what is on the disk at the time of writing
        self.present.append(sorted(p.name for p in Path(out_dir).iterdir()))
        if self.full:
            raise RunError('full')
        assert backend_args == dict(backend='mmhgkd.WholeFileBackend')
        WholeFileBackend().put(b'content', f'{out_dir}/{filename}')


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    info: dict[str, Any] = {}
    hub = SimpleNamespace(
        runtime_info=info, get_info=info.get, update_info=info.__setitem__
    )
    return Runner(
        work_dir=str(tmp_path),
        iter=0,
        epoch=0,
        message_hub=hub,
        present=[],
        full=False,
        optim_wrapper=None,
        model=torch.nn.Linear(1, 1),
        logger=SimpleNamespace(info=lambda text: None),
        call_hook=lambda name: None,
    )


def names(runner: Runner) -> list[str]:
    return sorted(path.name for path in Path(runner.work_dir).glob('*.pth'))


def save(hook: WholeCheckpointHook, runner: Runner, iteration: int) -> None:
    runner.iter = iteration - 1
    hook.after_train_iter(runner, iteration - 1)


def test_old_one_goes_after_the_new_one_is_there(runner: Runner) -> None:
    hook = WholeCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1)
    runner.max_iters = 9
    hook.before_train(runner)
    save(hook, runner, 1)
    save(hook, runner, 2)
    assert 'iter_1.pth' in runner.present[1]
    assert names(runner) == ['iter_2.pth']
    last = Path(runner.work_dir, 'last_checkpoint').read_text()
    assert last == str(Path(runner.work_dir, 'iter_2.pth'))
    assert runner.message_hub.runtime_info['keep_ckpt_ids'] == [2]


def test_full_disk_keeps_the_old_one(runner: Runner) -> None:
    hook = WholeCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1)
    runner.max_iters = 9
    hook.before_train(runner)
    save(hook, runner, 1)
    runner.full = True
    with pytest.raises(RunError):
        save(hook, runner, 2)
    assert names(runner) == ['iter_1.pth']
    last = Path(runner.work_dir, 'last_checkpoint').read_text()
    assert last.endswith('iter_1.pth')


def test_save_now_once_and_until_the_next_checkpoint(runner: Runner) -> None:
    hook = WholeCheckpointHook(interval=5, by_epoch=False, max_keep_ckpts=2)
    runner.max_iters = 9
    hook.before_train(runner)
    hook.save_now(runner, done=0, together=True)  # nothing to lose yet
    assert names(runner) == []
    hook.save_now(runner, done=3, together=False)
    hook.save_now(runner, done=3, together=False)
    assert names(runner) == ['interrupted.pth']
    assert len(runner.present) == 1
    save(hook, runner, 5)
    assert names(runner) == ['iter_5.pth']


def test_leftovers_of_a_killed_run_are_removed(runner: Runner) -> None:
    Path(runner.work_dir, '.iter_1.pth.123.partial').touch()
    WholeCheckpointHook().before_train(runner)
    assert list(Path(runner.work_dir).iterdir()) == []


def test_backend_names_the_file_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(RunError, match=r'cannot write .*/file/a.pth: .*'):
        WholeFileBackend().put(b'', tmp_path / 'file' / 'a.pth')


def test_nothing_invalid_takes_the_place_of_what_is_whole(
    runner: Runner,
) -> None:
    hook = WholeCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1)
    runner.max_iters = 9
    runner.model = torch.nn.BatchNorm1d(2)
    hook.before_train(runner)
    save(hook, runner, 1)
    runner.model.running_var[1] = torch.inf
    with pytest.raises(FloatingPointError, match='after iteration 2 running_'):
        save(hook, runner, 2)
    with pytest.raises(FloatingPointError, match='running_var is not finite'):
        hook.save_now(runner, done=2, together=False)
    assert names(runner) == ['iter_1.pth']


def test_what_a_kill_has_left_is_removed_later(runner: Runner) -> None:
    hook = WholeCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1)
    runner.max_iters = 9
    hook.before_train(runner)
    save(hook, runner, 1)
    Path(runner.work_dir, 'iter_7.pth').touch()  # of nobody that it knows
    hook._remove_outdated = lambda: None  # type: ignore[method-assign]
    save(hook, runner, 2)
    assert names(runner) == ['iter_1.pth', 'iter_2.pth', 'iter_7.pth']
    resumed = WholeCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1)
    resumed.before_train(runner)
    assert names(runner) == ['iter_2.pth', 'iter_7.pth']


def test_best_checkpoint_of_another_folder_stays(
    runner: Runner, tmp_path: Path
) -> None:
    """A copied folder knows where the best one of the first folder is."""
    first = tmp_path / 'first' / 'best_count_epoch_1.pth'
    first.parent.mkdir()
    first.touch()
    runner.message_hub.runtime_info.update(
        best_ckpt=str(first), best_score=1.0
    )
    hook = WholeCheckpointHook(save_best='count', rule='greater')
    hook.before_train(runner)
    assert hook.best_ckpt_path is None
    copy = tmp_path / first.name
    copy.touch()
    hook.before_train(runner)
    assert hook.best_ckpt_path == str(copy)


def test_record_that_is_a_folder(runner: Runner) -> None:
    Path(runner.work_dir, 'last_checkpoint').mkdir()
    hook = WholeCheckpointHook(interval=1, by_epoch=False)
    runner.max_iters = 9
    hook.before_train(runner)
    save(hook, runner, 1)
    assert names(runner) == ['iter_1.pth']


def test_best_by_what_is_not_measured(runner: Runner) -> None:
    hook = WholeCheckpointHook(save_best='loss')
    hook.before_train(runner)
    with pytest.raises(ConfigError, match=r'is `loss`.*there are `knn/top1`'):
        hook.after_val_epoch(runner, {'knn/top1': 1.0})
