from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file


def test_writes_the_backbone_alone(
    save_backbone: ModuleType, tmp_path: Path
) -> None:
    source, out = tmp_path / 'in.pth', tmp_path / 'deep' / 'out.safetensors'
    weight = torch.randn(3, 4)
    state = {
        'backbone.fc.weight': weight,
        'backbone.count': torch.tensor(7),
        'neck.weight': weight,
    }
    torch.save(dict(state_dict=state, meta=dict(epoch=1)), source)
    assert save_backbone.main([str(source), str(out)]) == 0
    written = load_file(out)
    assert set(written) == {'fc.weight', 'count'}
    assert torch.equal(written['fc.weight'], weight)
    assert save_backbone.main([str(source), str(out), '--half']) == 0
    written = load_file(out)
    assert torch.equal(written['fc.weight'], weight.half())
    assert written['count'].dtype == torch.int64


def test_checkpoint_without_backbone(
    save_backbone: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save(dict(state_dict=dict(a=torch.ones(1))), tmp_path / 'in.pth')
    assert (
        save_backbone.main([str(tmp_path / 'in.pth'), str(tmp_path / 'out')])
        == 2
    )
    assert 'no key that starts with `backbone.`' in capsys.readouterr().err


def test_missing_file(
    save_backbone: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        save_backbone.main([str(tmp_path / 'no.pth'), str(tmp_path / 'out')])
        == 2
    )
    assert 'no such file' in capsys.readouterr().err
