r"""Compare an exported graph with its checkpoint on the pictures of the test.

    python tools/analysis_tools/compare_export.py \
        work_dirs/mask-rcnn_hgkd-r18_scenes/epoch_24.pth model.onnx

Both see the pictures that the config of the checkpoint evaluates on, as its
pipeline prepares them. Printed are the largest differences of boxes and
scores, or the share of equal pixels, and the metrics of the config for both.
"""

import argparse
import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor
from torch.nn import functional

from mmhgkd.deploy import read_task_model
from mmhgkd.deploy.onnx_file import open_session, run
from mmhgkd.deploy.verify import compare_boxes
from mmhgkd.runner.command_line import report
from mmhgkd.transfer.converters.student import building_from, read_config
from mmhgkd.utils import ConfigError

TASKS = ('detection', 'segmentation')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('checkpoint', help='of a detector or segmentor')
    add('graph', help='what `mmhgkd export --to onnx` has made of it')
    options = 'change the config in the checkpoint, such as `data_root`'
    add('--cfg-options', nargs='+', action=DictAction, help=options)
    add('--limit', type=int, help='pictures at most; defaults to all')
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        parser.error('--limit must be 1 at least')
    return args


def read_pictures(
    checkpoint: str, options: Mapping[str, Any] | None, limit: int | None
) -> tuple[Config, Any, Any]:
    """Config of a checkpoint, its pictures one by one, and its metrics."""
    stored, origin, _ = read_config(checkpoint)
    config = Config(dict(stored))
    config.origin = origin
    config.merge_from_dict(dict(options or {}))
    loader = config.test_dataloader
    loader.update(batch_size=1, num_workers=0, persistent_workers=False)
    if limit is not None:
        loader.dataset.indices = limit
    scope = config.get('default_scope', 'mmpretrain')
    with (
        DefaultScope.overwrite_default_scope(scope),
        building_from(config),
    ):
        pictures = Runner.build_dataloader(loader, seed=0)
        metrics = config.test_evaluator
        metrics = metrics if isinstance(metrics, list) else [metrics]
        evaluators = [Evaluator(copy.deepcopy(metrics)) for _ in range(2)]
    for evaluator in evaluators:
        evaluator.dataset_meta = pictures.dataset.metainfo
    return config, pictures, evaluators


def detections(found: Mapping[str, Tensor], sample: Any, about: Any) -> None:
    """Put what a graph has found in one picture into a sample.

    Args:
        found (dict[str, Tensor]): Outputs of the graph, of one picture.
        sample (DetDataSample): The sample.
        about (Mapping): Metadata of the graph.
    """
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
    from mmengine.structures import InstanceData

    keep = found['scores'] >= 0
    scale = found['boxes'].new_tensor(sample.scale_factor).repeat(2)
    instances = InstanceData(
        bboxes=found['boxes'][keep] / scale,
        scores=found['scores'][keep],
        labels=found['labels'][keep].long(),
    )
    if 'masks' in found:
        pasted, _ = _do_paste_mask(
            found['masks'][keep][:, None],
            instances.bboxes,
            *sample.ori_shape,
            skip_empty=False,
        )
        instances.masks = pasted >= float(about['mask_threshold'])
    sample.pred_instances = instances


def segmentation(found: Mapping[str, Tensor], sample: Any) -> None:
    """Put the classes of the pixels of one picture into a sample."""
    from mmengine.structures import PixelData

    logits = functional.interpolate(
        found['logits'][None], sample.ori_shape, mode='bilinear'
    )
    sample.pred_sem_seg = PixelData(data=logits.argmax(1))


def compare(args: argparse.Namespace) -> list[str]:
    """Run both on all pictures; returns what to say.

    Raises:
        ConfigError: If the task has no boxes and no pixels.
    """
    if not Path(args.graph).is_file():
        raise ConfigError(f'there is no file {args.graph}')
    task_model = read_task_model(args.checkpoint)
    task = task_model.graph.task
    if task not in TASKS:
        raise ConfigError(
            f'{args.checkpoint}: its task is {task}; compared are '
            f'{" and ".join(TASKS)}'
        )
    _, pictures, (evaluator, other) = read_pictures(
        args.checkpoint, args.cfg_options, args.limit
    )
    session = open_session(Path(args.graph))
    about = session.get_modelmeta().custom_metadata_map
    worst: dict[str, list[float]] = {}
    for data in pictures:
        with torch.no_grad():
            samples = task_model.model.test_step(copy.deepcopy(data))
        (image,), (sample,) = data['inputs'], data['data_samples']
        found = run(session, image.flip(0)[None].contiguous())
        one = {name: values[0] for name, values in found.items()}
        if task == 'detection':
            detections(one, sample, about)
            # In pixels of the picture, as those of the model.
            found['boxes'] = found['boxes'] / found['boxes'].new_tensor(
                sample.scale_factor
            ).repeat(2)
            expected = samples[0].pred_instances
            numbers = compare_boxes(
                {
                    'boxes': [expected.bboxes],
                    'scores': [expected.scores],
                    'labels': [expected.labels],
                },
                found,
            )
        else:
            segmentation(one, sample)
            equal = sample.pred_sem_seg.data == samples[0].pred_sem_seg.data
            numbers = {'equal pixels': equal.float().mean().item()}
        for name, value in numbers.items():
            worst.setdefault(name, []).append(value)
        evaluator.process([samples[0].to_dict()], data)
        other.process([sample.to_dict()], data)
    count = len(pictures.dataset)
    metrics = evaluator.evaluate(count), other.evaluate(count)
    lines = [f'{count} pictures']
    for name, values in worst.items():
        if name in ('boxes', 'scores'):
            lines.append(f'largest difference of {name}: {max(values):.1e}')
        else:
            mean = sum(values) / len(values)
            lines.append(f'{name}: {100 * mean:.3f} %')
    for name, value in metrics[0].items():
        lines.append(
            f'{name}: {value:.4f}, of the graph {metrics[1][name]:.4f}'
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and print; returns the exit code."""
    args = parse_args(argv)
    try:
        print('\n'.join(compare(args)))
    except (OSError, ValueError) as error:
        return report(error)
    return 0


if __name__ == '__main__':
    sys.exit(main())
