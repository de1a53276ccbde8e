from typing import Any

import torch
from torch import Tensor, nn

from .detections import (
    NOTHING,
    clip,
    drop_small,
    pick,
    select,
    suppression,
    top,
)
from .graph import refuse


class BoxesOfLevels(nn.Module):
    """The boxes that a dense head finds in a pyramid of features.

    Args:
        head (nn.Module): A ``BaseDenseHead`` of MMDetection that predicts in
            the way of its base, or an ``RPNHead``.
        option (str): Its name in the config.

    Raises:
        ConfigError: If it predicts in another way.
    """

    head: Any

    def __init__(self, head: nn.Module, option: str) -> None:
        super().__init__()
        from mmdet.models.dense_heads import RPNHead
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
        from mmdet.models.task_modules.coders import (
            DeltaXYWHBBoxCoder,
            DistancePointBBoxCoder,
        )

        self.proposes = isinstance(head, RPNHead)
        base: Any = RPNHead if self.proposes else BaseDenseHead
        for method in (
            'predict',
            'predict_by_feat',
            '_predict_by_feat_single',
            '_bbox_post_process',
        ):
            if getattr(type(head), method, None) is not getattr(base, method):
                raise refuse(
                    option, head, 'which predicts in a way of its own'
                )
        if getattr(head.loss_cls, 'custom_cls_channels', False):
            raise refuse(
                f'{option}.loss_cls',
                head.loss_cls,
                'which has scores of its own',
            )
        coders = (DeltaXYWHBBoxCoder, DistancePointBBoxCoder)
        if type(head.bbox_coder) not in coders:
            raise refuse(
                f'{option}.bbox_coder',
                head.bbox_coder,
                'and graphs decode by '
                + ' and '.join(coder.__name__ for coder in coders),
            )
        self.head = head
        cfg: Any = head.test_cfg
        test = 'model.test_cfg.rpn' if self.proposes else 'model.test_cfg'
        self.threshold, self.is_agnostic = suppression(cfg.nms, f'{test}.nms')
        self.count = int(cfg.max_per_img)
        self.before = int(cfg.get('nms_pre', -1))
        self.least = cfg.get('min_bbox_size', -1)
        self.least_score = 0.0 if self.proposes else cfg.get('score_thr', 0)

    def forward(
        self, features: tuple[Tensor, ...], images: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of :func:`select`."""
        outputs = self.head(features)
        factors = outputs[2] if len(outputs) > 2 else [None] * len(outputs[0])
        priors = self.head.prior_generator.grid_priors(
            [level.shape[2:] for level in outputs[0]],
            dtype=outputs[0][0].dtype,
            device=outputs[0][0].device,
        )
        levels = [
            self._level(*parts, images, number)
            for number, parts in enumerate(
                zip(outputs[0], outputs[1], factors, priors, strict=True)
            )
        ]
        boxes, scores, labels = (
            torch.cat(x, 1) for x in zip(*levels, strict=True)
        )
        groups = len(levels) if self.proposes else self.head.num_classes
        return select(
            boxes,
            scores,
            labels,
            1 if self.is_agnostic else groups,
            self.threshold,
            self.count,
        )

    def _level(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        factor: Tensor | None,
        priors: Tensor,
        images: Tensor,
        number: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        head, batch = self.head, cls_score.size(0)
        deltas = _rows(bbox_pred, head.bbox_coder.encode_size)
        logits = _rows(cls_score, head.cls_out_channels)
        if head.use_sigmoid_cls:
            scores = logits.sigmoid()
        else:
            scores = logits.softmax(-1)[..., :-1]
        classes = scores.size(-1)
        scores = scores.flatten(1)
        if not self.proposes:
            passes = scores > self.least_score
            scores = torch.where(passes, scores, scores.new_tensor(NOTHING))
        if self.before > 0:
            scores, places = top(scores, self.before)
        else:
            places = torch.arange(scores.size(1)).expand(batch, -1)
        anchors = torch.div(places, classes, rounding_mode='floor')
        labels = torch.full_like(places, number)
        if not self.proposes:
            labels = places - anchors * classes
        boxes = decode(
            head.bbox_coder, priors[anchors], pick(deltas, anchors), images
        )
        if factor is not None:
            chosen = _rows(factor, 1).sigmoid().squeeze(2).gather(1, anchors)
            scores = torch.where(scores > NOTHING / 2, scores * chosen, scores)
        return boxes, drop_small(boxes, scores, self.least), labels


def decode(
    coder: Any, priors: Tensor, deltas: Tensor, images: Tensor
) -> Tensor:
    """Boxes ``(..., 4)`` of priors ``(..., 2 or 4)`` and deltas."""
    if deltas.size(-1) == 4 and hasattr(coder, 'stds'):
        from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import (
            delta2bbox,
        )

        boxes = delta2bbox(
            priors.reshape(-1, 4),
            deltas.reshape(-1, 4),
            coder.means,
            coder.stds,
            clip_border=False,
            add_ctr_clamp=coder.add_ctr_clamp,
            ctr_clamp=coder.ctr_clamp,
        ).reshape(deltas.shape)
    else:
        boxes = torch.cat(
            (priors - deltas[..., :2], priors + deltas[..., 2:]), -1
        )
    return clip(boxes, images) if coder.clip_border else boxes


def _rows(x: Tensor, width: int) -> Tensor:
    """Maps ``(B, A * width, H, W)`` as ``(B, H * W * A, width)``."""
    return x.permute(0, 2, 3, 1).reshape(x.size(0), -1, width)
