from typing import Any

import torch
from torch import Tensor, nn

from .graph import Graph, refuse


class ClassifierGraph(Graph):
    """A classifier of MMPretrain, or a student without a head."""

    task = 'classification'

    def __init__(self, model: nn.Module, bands: int | None = None) -> None:
        super().__init__(model, bands)
        self.names = ('embedding',)
        if self.model.head is None:
            self.task = 'embedding'
        else:
            self.names = ('embedding', 'logits')
            if not callable(getattr(self.model.head, 'forward', None)):
                raise refuse('model.head', self.model.head, 'no classifier')
        self.axes = {name: {0: 'batch'} for name in self.names}

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Embeddings ``(B, C)``, and logits ``(B, classes)`` of a head."""
        features = _features(self.model, self.prepare(images))
        embedding = features[-1]
        if isinstance(embedding, (tuple, list)):
            embedding = embedding[-1]
        if self.model.head is None:
            return (embedding,)
        logits = self.model.head(features)
        if not isinstance(logits, Tensor):
            raise refuse('model.head', self.model.head, 'of several outputs')
        return embedding, logits

    def describe(self) -> dict[str, str]:
        """See :class:`Graph`."""
        texts = dict(embedding='features of each image, (batch, channels)')
        if 'logits' in self.names:
            texts['logits'] = (
                'scores before the softmax, (batch, classes); their softmax '
                'is the probabilities'
            )
            if 'MultiLabel' in type(self.model.head).__name__:
                texts['logits'] = 'scores before the sigmoid, (batch, classes)'
        return texts

    def reference(self, images: Tensor) -> dict[str, Tensor]:
        """What the library computes of photos, by its own way."""
        model = self.model
        if self.bands is None:
            images = images.flip(1)
        with torch.no_grad():
            x = model.data_preprocessor(dict(inputs=images), False)['inputs']
            features = _features(model, x)
            result = {'embedding': features[-1]}
            if model.head is not None:
                result['logits'] = model.head(features)
        return result


def _features(model: Any, x: Tensor) -> Any:
    """Features of the neck, and means of maps where there is none."""
    features = model.extract_feat(x)
    return tuple(
        one.mean((2, 3)) if isinstance(one, Tensor) and one.ndim == 4 else one
        for one in features
    )
