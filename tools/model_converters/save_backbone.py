"""Save the backbone of a checkpoint alone, as safetensors.

The teacher that this project ships was made by

    python tools/dataset_converters/make_scenes.py data/scenes \
        --num-train 4000 --num-val 800
    python tools/train.py configs/mae/vit-micro_scenes.py
    python tools/model_converters/save_backbone.py \
        work_dirs/vit-micro_scenes/epoch_60.pth \
        configs/mae/vit-micro_scenes.safetensors --half
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmhgkd.runner import command_line
from mmhgkd.teachers.checkpoint import read_state_dict, strip_prefix
from mmhgkd.transfer.converters.weights_file import write_weights
from mmhgkd.utils import ConfigError

PREFIX = 'backbone.'


def save_backbone(checkpoint: str, out: str, half: bool = False) -> int:
    """Write the backbone's weights without their prefix; returns their number.

    With ``half`` floats are stored in fp16.

    Raises:
        ConfigError: If the checkpoint holds no backbone.
    """
    weights = strip_prefix(read_state_dict(checkpoint), PREFIX)
    if half:
        weights = {
            key: value.half() if value.is_floating_point() else value
            for key, value in weights.items()
        }
    if not weights:
        raise ConfigError(
            f'{checkpoint} holds no key that starts with '
            f'`{PREFIX}`; pass a checkpoint of tools/train.py'
        )
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_weights(Path(out), weights, {})
    return len(weights)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoint')
    parser.add_argument('out')
    parser.add_argument('--half', action='store_true', help='store fp16')
    args = parser.parse_args(argv)
    try:
        count = save_backbone(args.checkpoint, args.out, args.half)
    except (OSError, ValueError) as error:
        return command_line.report(error)
    print(f'{count} tensors written to {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
