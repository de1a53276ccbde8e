from typing import Any

import torch
from torch import Tensor, nn
from torchvision import ops

from .boxes_of_levels import BoxesOfLevels, decode
from .detections import NOTHING, select, suppression
from .detector import DetectorGraph
from .graph import refuse


class TwoStageGraph(DetectorGraph):
    """A detector of two stages: Faster R-CNN and Mask R-CNN."""

    # Where a feature is read of a region has changed there.
    least_opset = 16

    def __init__(self, model: nn.Module) -> None:
        from mmdet.models.detectors import TwoStageDetector

        if model.with_mask:
            self.names = (*self.names, 'masks')
        super().__init__(model)
        if type(self.model).predict is not TwoStageDetector.predict:
            raise refuse(
                'model', self.model, 'which predicts in a way of its own'
            )
        roi_head = self.model.roi_head
        _check(roi_head)
        self.proposals = BoxesOfLevels(self.model.rpn_head, 'model.rpn_head')
        cfg = roi_head.test_cfg
        self.threshold, self.is_agnostic = suppression(
            cfg.nms, 'model.test_cfg.rcnn.nms'
        )
        self.count = int(cfg.max_per_img)
        self.least_score = cfg.score_thr

    def describe(self) -> dict[str, str]:
        """See :class:`Graph`."""
        texts = super().describe()
        if 'masks' in self.names:
            texts['masks'] = (
                'probabilities on a grid over each box, (batch, boxes, rows, '
                'columns); resized to the box and cut at mask_threshold they '
                'are its mask'
            )
        return texts

    def settings(self) -> dict[str, str]:
        """See :class:`Graph`."""
        if 'masks' not in self.names:
            return {}
        limit = self.model.roi_head.test_cfg.mask_thr_binary
        return dict(mask_threshold=str(limit))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Boxes ``(B, N, 4)``, scores and labels, masks ``(B, N, h, w)``."""
        features = self.model.extract_feat(self.prepare(images))
        regions, found, _ = self.proposals(features, images)
        boxes, scores, labels = self._classify(
            features, images, regions, found
        )
        if 'masks' not in self.names:
            return boxes, scores, labels
        return (
            boxes,
            scores,
            labels,
            self._masks(features, boxes, scores, labels),
        )

    def _classify(
        self,
        features: tuple[Tensor, ...],
        images: Tensor,
        regions: Tensor,
        found: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        head = self.model.roi_head
        batch, number = found.shape
        places = (found.reshape(-1) > NOTHING / 2).nonzero().squeeze(1)
        rois = _rois(regions, places)
        logits, deltas = head.bbox_head(
            _pool(head.bbox_roi_extractor, features, rois)
        )
        scores = logits.softmax(-1)[:, :-1]
        classes = scores.size(1)
        own = 1 if head.bbox_head.reg_class_agnostic else classes
        boxes = decode(
            head.bbox_head.bbox_coder,
            rois[:, None, 1:].expand(-1, own, -1),
            deltas.reshape(-1, own, 4),
            images,
        ).expand(-1, classes, -1)
        nothing = scores.new_tensor(NOTHING)
        scores = torch.where(scores > self.least_score, scores, nothing)
        # Back to where the regions stand, image by image.
        index = places[:, None].expand(-1, classes)
        table = scores.new_full((1, classes), NOTHING)
        table = table.repeat(batch * number, 1).scatter(0, index, scores)
        corners = torch.zeros_like(table)[..., None].repeat(1, 1, 4)
        index = index[..., None].expand(-1, -1, 4)
        corners = corners.scatter(0, index, boxes)
        labels = torch.arange(classes, device=scores.device)
        return select(
            corners.reshape(batch, -1, 4),
            table.reshape(batch, -1),
            labels.repeat(batch, number),
            1 if self.is_agnostic else classes,
            self.threshold,
            self.count,
        )

    def _masks(
        self,
        features: tuple[Tensor, ...],
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
    ) -> Tensor:
        head = self.model.roi_head
        places = (scores.reshape(-1) > NOTHING / 2).nonzero().squeeze(1)
        rois = _rois(boxes, places)
        logits = head.mask_head(_pool(head.mask_roi_extractor, features, rois))
        if head.mask_head.class_agnostic:
            logits = logits[:, 0]
        else:
            index = labels.reshape(-1)[places][:, None, None, None]
            index = index.expand(-1, 1, logits.size(2), logits.size(3))
            logits = logits.gather(1, index)[:, 0]
        flat = logits.sigmoid().flatten(1)
        table = scores.reshape(-1, 1).repeat(1, flat.size(1)) * 0
        index = places[:, None].expand(-1, flat.size(1))
        masks = table.scatter(0, index, flat)
        size = logits.shape[1:]
        return masks.reshape(*scores.shape, *size)


def _rois(boxes: Tensor, places: Tensor) -> Tensor:
    """Image and corners, ``(R, 5)``, of boxes ``(B, N, 4)`` at places."""
    image = torch.div(places, boxes.size(1), rounding_mode='floor')
    corners = boxes.reshape(-1, 4)[places]
    return torch.cat((image[:, None].to(corners.dtype), corners), 1)


def _pool(
    extractor: Any, features: tuple[Tensor, ...], rois: Tensor
) -> Tensor:
    """Features of regions, as ``SingleRoIExtractor`` reads them."""
    layers = extractor.roi_layers
    features = features[: extractor.num_inputs]
    if len(features) == 1:
        return _align(layers[0], features[0], rois)
    levels = extractor.map_roi_levels(rois, len(features))
    parts, places = [], []
    for number, feature in enumerate(features):
        index = (levels == number).nonzero().squeeze(1)
        parts.append(_align(layers[number], feature, rois[index]))
        places.append(index)
    order = torch.cat(places)
    back = torch.zeros_like(order).scatter(
        0, order, torch.arange(order.size(0), device=order.device)
    )
    return torch.cat(parts)[back]


def _align(layer: Any, feature: Tensor, rois: Tensor) -> Tensor:
    return ops.roi_align(
        feature,
        rois,
        layer.output_size,
        layer.spatial_scale,
        layer.sampling_ratio,
        layer.aligned,
    )


def _check(roi_head: Any) -> None:
    """Refuse what this does not do in the way of the library."""
    from mmdet.models.roi_heads import StandardRoIHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

    if type(roi_head) is not StandardRoIHead or roi_head.with_shared_head:
        raise refuse(
            'model.roi_head',
            roi_head,
            'and graphs have StandardRoIHead without a shared head only',
        )
    extractors = ['bbox_roi_extractor']
    heads: list[tuple[str, Any]] = [('bbox_head', BBoxHead)]
    if roi_head.with_mask:
        extractors.append('mask_roi_extractor')
        heads.append(('mask_head', FCNMaskHead))
    for name in extractors:
        extractor = getattr(roi_head, name)
        if type(extractor) is not SingleRoIExtractor:
            raise refuse(
                f'model.roi_head.{name}',
                extractor,
                'and graphs have SingleRoIExtractor only',
            )
        layer = extractor.roi_layers[0]
        if type(layer).__name__ != 'RoIAlign' or layer.pool_mode != 'avg':
            raise refuse(
                f'model.roi_head.{name}.roi_layer',
                layer,
                'and graphs have RoIAlign with averages only',
            )
    for name, base in heads:
        head = getattr(roi_head, name)
        methods = ('predict_by_feat', '_predict_by_feat_single')
        if any(
            getattr(type(head), method, None) is not getattr(base, method)
            for method in methods
        ):
            raise refuse(
                f'model.roi_head.{name}',
                head,
                'which predicts in a way of its own',
            )
    head = roi_head.bbox_head
    if head.custom_cls_channels or type(head.bbox_coder) is not (
        DeltaXYWHBBoxCoder
    ):
        raise refuse(
            'model.roi_head.bbox_head',
            head,
            'with scores or boxes of a form of their own',
        )
