import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmhgkd.sparse.triton.tuning import (
    VARIABLE,
    Blocks,
    depthwise_blocks,
    gather_gemm_blocks,
    read_blocks,
    stem_blocks,
    use_blocks,
    weight_gradient_blocks,
)
from mmhgkd.utils import ConfigError

TABLE = dict(
    gpu='a GPU',
    capability=[9, 0],
    blocks=[['gather_gemm', 256, 512, 2, [128, 256, 64, 8, 4, 0]]],
)


@pytest.mark.parametrize('channels', [64, 128, 256, 512, 1024, 2048])
@pytest.mark.parametrize('element_size', [2, 4])
def test_blocks_of_powers_of_two_are_plain(
    channels: int, element_size: int
) -> None:
    for blocks in (
        gather_gemm_blocks(channels, channels, element_size),
        weight_gradient_blocks(channels, channels, element_size),
    ):
        assert blocks.extra == 0
        for side in (blocks.height, blocks.width, blocks.depth):
            assert side & (side - 1) == 0


@pytest.mark.parametrize('channels', [96, 192, 384, 768])
@pytest.mark.parametrize('element_size', [2, 4])
def test_no_channel_of_three_halves_is_wasted(
    channels: int, element_size: int
) -> None:
    blocks = gather_gemm_blocks(channels, channels, element_size)
    assert channels % (blocks.width + blocks.extra) == 0
    assert channels % blocks.depth == 0
    blocks = weight_gradient_blocks(channels, channels, element_size)
    assert channels % (blocks.height + blocks.extra) == 0
    assert channels % blocks.width == 0
    assert channels % depthwise_blocks(channels)[1] == 0
    assert channels % stem_blocks(channels).width == 0


def test_blocks_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / 'blocks.json'
    path.write_text(json.dumps(TABLE))
    if torch.cuda.is_available():
        table = dict(TABLE, capability=torch.cuda.get_device_capability())
        path.write_text(json.dumps(table))
    wide = Blocks(128, 256, 64, 8, 4)
    assert read_blocks(path) == {('gather_gemm', 256, 512, 2): wide}
    code = (
        'from mmhgkd.sparse.triton.tuning import gather_gemm_blocks as find\n'
        'print(*find(256, 512, 2), *find(256, 512, 4))'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        env=os.environ | {VARIABLE: str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    default = gather_gemm_blocks(256, 512, 4)
    assert list(map(int, result.stdout.split())) == [*wide, *default]


def test_chosen_blocks_end() -> None:
    before = gather_gemm_blocks(64, 64, 2)
    other = Blocks(16, 16, 16, 4, 2)
    with use_blocks(('gather_gemm', 64, 64, 2), other):
        assert gather_gemm_blocks(64, 64, 2) == other
        assert weight_gradient_blocks(64, 64, 2) != other
    assert gather_gemm_blocks(64, 64, 2) == before


@pytest.mark.parametrize(
    'content',
    [
        None,
        'no JSON',
        '{}',
        '[]',
        '{"capability": [9, 0], "blocks": [["gather_gemm", 1]]}',
        '{"capability": [9, 0], "blocks": [["gather_gemm", 1, 2, 2, [1]]]}',
    ],
)
def test_bad_table(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / 'blocks.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r'MMHGKD_BLOCKS=.* is no table of'):
        read_blocks(path)


def test_table_of_another_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'blocks.json'
    path.write_text(json.dumps(TABLE))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: (8, 0))
    with pytest.raises(ConfigError, match=r'this one has \[8, 0\]'):
        read_blocks(path)
