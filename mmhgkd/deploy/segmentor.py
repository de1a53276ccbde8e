import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .graph import Graph, refuse


class SegmentorGraph(Graph):
    """An encoder and decoder of MMSegmentation, on whole images."""

    task = 'segmentation'
    names = ('labels', 'logits')

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead

        head = self.model.decode_head
        if not isinstance(head, BaseDecodeHead):
            raise refuse('model.decode_head', head, 'no single decode head')
        if type(head).predict_by_feat is not BaseDecodeHead.predict_by_feat:
            raise refuse(
                'model.decode_head', head, 'which predicts in a way of its own'
            )
        mode = self.model.test_cfg.get('mode', 'whole')
        if mode != 'whole':
            raise refuse(
                'model.test_cfg.mode',
                repr(mode),
                "and a graph sees the whole image: set it to 'whole' in the "
                'config, and give that with `--config`',
            )
        if self.model.data_preprocessor.test_cfg:
            raise refuse(
                'model.data_preprocessor.test_cfg',
                repr(dict(self.model.data_preprocessor.test_cfg)),
                'a padding that a graph does not do',
            )
        sides = {0: 'batch', 1: 'height', 2: 'width'}
        self.axes = {
            'labels': sides,
            'logits': {0: 'batch', 2: 'height', 3: 'width'},
        }

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Labels ``(B, H, W)`` int64, and logits ``(B, classes, H, W)``."""
        model = self.model
        scores = model.decode_head(model.extract_feat(self.prepare(images)))
        scores = F.interpolate(
            scores,
            images.shape[2:],
            mode='bilinear',
            align_corners=model.align_corners,
        )
        if scores.size(1) > 1:
            return scores.argmax(1), scores
        labels = scores.sigmoid() > model.decode_head.threshold
        return labels[:, 0].long(), scores

    def describe(self) -> dict[str, str]:
        """See :class:`Graph`."""
        return dict(
            labels='class of each pixel, (batch, height, width)',
            logits='scores before the softmax, (batch, classes, height, '
            'width)',
        )

    def reference(self, images: Tensor) -> dict[str, Tensor]:
        """What the library computes of RGB photos, by its own way."""
        from mmseg.structures import SegDataSample

        size = tuple(images.shape[2:])
        metainfo = dict(ori_shape=size, img_shape=size, pad_shape=size)
        data = dict(
            inputs=list(images.flip(1)),
            data_samples=[SegDataSample(metainfo=metainfo) for _ in images],
        )
        with torch.no_grad():
            found = self.model.test_step(data)
        logits = torch.stack([one.seg_logits.data for one in found])
        labels = torch.stack([one.pred_sem_seg.data[0] for one in found])
        if logits.size(1) == 1:
            logits = logits.logit()
        return dict(labels=labels.long(), logits=logits)

    def _divisor(self, part: nn.Module) -> int:
        # Its own is for training.
        super()._divisor(part)
        return 1
