import torch
from torch import Tensor, nn

from .boxes_of_levels import BoxesOfLevels
from .graph import Graph, refuse


class DetectorGraph(Graph):
    """What all detectors of MMDetection have in common."""

    task = 'detection'
    names: tuple[str, ...] = ('boxes', 'scores', 'labels')

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.axes = {name: {0: 'batch'} for name in self.names}

    def describe(self) -> dict[str, str]:
        """See :class:`Graph`."""
        return dict(
            boxes='corners x1, y1, x2, y2 in pixels of the input, (batch, '
            'boxes, 4), best first',
            scores='(batch, boxes), in 0 to 1; -1 where there are no more '
            'boxes',
            labels='class of each box, (batch, boxes); -1 where there are no '
            'more boxes',
        )

    def reference(self, images: Tensor) -> dict[str, list[Tensor]]:
        """What the library computes of RGB photos, by its own way.

        Returns:
            dict[str, list[Tensor]]: Boxes, scores and labels, and whole
            masks where there are some, of each image.
        """
        from mmdet.structures import DetDataSample

        size = tuple(images.shape[2:])
        metainfo = dict(
            ori_shape=size, img_shape=size, scale_factor=(1.0, 1.0), img_id=0
        )
        data = dict(
            inputs=list(images.flip(1)),
            data_samples=[DetDataSample(metainfo=metainfo) for _ in images],
        )
        with torch.no_grad():
            found = self.model.test_step(data)
        results = [one.pred_instances for one in found]
        columns = dict(
            boxes=[one.bboxes for one in results],
            scores=[one.scores for one in results],
            labels=[one.labels for one in results],
        )
        if 'masks' in self.names:
            columns['masks'] = [one.masks for one in results]
        return columns


class SingleStageGraph(DetectorGraph):
    """A detector of one stage, such as RetinaNet and FCOS."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        from mmdet.models.detectors import SingleStageDetector

        if type(self.model).predict is not SingleStageDetector.predict:
            raise refuse(
                'model', self.model, 'which predicts in a way of its own'
            )
        self.boxes = BoxesOfLevels(self.model.bbox_head, 'model.bbox_head')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Boxes ``(B, N, 4)``, scores and labels ``(B, N)``."""
        features = self.model.extract_feat(self.prepare(images))
        return self.boxes(features, images)
