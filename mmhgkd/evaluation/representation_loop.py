from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import Runner, ValLoop
from mmengine.runner.amp import autocast
from torch.utils.data import DataLoader

from mmhgkd.registry import LOOPS
from mmhgkd.utils import ConfigError

from .embedding import global_embedding


@LOOPS.register_module()
class RepresentationLoop(ValLoop):
    """Evaluates the representation of a model instead of its predictions.

    The model is not changed and needs no classifier: its ``extract_feat``
    gives one embedding per image, see :func:`global_embedding`, and metrics
    such as :class:`KNNAccuracy` classify one split with another. The
    dataloader holds both splits in one ``ConcatDataset``.

    The loop serves as ``val_cfg`` and as ``test_cfg``, and calls the hooks of
    the one that it is.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader or dict): Images of all splits, with ``split``
            and ``gt_label`` in the data samples.
        evaluator (Evaluator or dict or list): The metrics.
        fp16 (bool): Whether to compute features in half precision.
            Defaults to False.

    Raises:
        ConfigError: If the model has no ``extract_feat``.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if not hasattr(self.model, 'extract_feat'):
            raise ConfigError(
                'RepresentationLoop needs a model with `extract_feat`, which '
                f'{type(self.model).__name__} has not; use a mmpretrain model '
                "or set `val_cfg=dict(type='ValLoop')`"
            )

    @property
    def model(self) -> BaseModel:
        """The model without the wrapper of distributed training."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model

    @property
    def stage(self) -> str:
        """Whether this is the runner's 'val' or its 'test' loop."""
        # The public `test_loop` would build a test loop that nobody asked for.
        return 'test' if self.runner._test_loop is self else 'val'

    def run(self) -> dict[str, float]:
        """Compute the embeddings of all images, then the metrics."""
        stage = self.stage
        self.runner.call_hook(f'before_{stage}')
        self.runner.call_hook(f'before_{stage}_epoch')
        self.runner.model.eval()
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook(f'after_{stage}_epoch', metrics=metrics)
        self.runner.call_hook(f'after_{stage}')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Compute the embeddings of one batch."""
        stage = self.stage
        self.runner.call_hook(
            f'before_{stage}_iter', batch_idx=idx, data_batch=data_batch
        )
        model = self.model
        data = model.data_preprocessor(data_batch, False)
        with autocast(enabled=self.fp16):
            feats = model.extract_feat(data['inputs'])
        backbone = getattr(model, 'backbone', None)
        embeddings = global_embedding(
            feats, getattr(backbone, 'num_extra_tokens', None)
        ).cpu()
        outputs = data['data_samples']
        for data_sample, embedding in zip(outputs, embeddings, strict=True):
            # A row of its own: pickling a view writes the whole batch.
            data_sample.set_field(embedding.clone(), 'embedding')
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            f'after_{stage}_iter',
            batch_idx=idx,
            data_batch=data_batch,
            outputs=outputs,
        )
