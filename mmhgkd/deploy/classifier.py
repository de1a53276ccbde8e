import torch
from torch import Tensor, nn

from .graph import Graph, refuse


class ClassifierGraph(Graph):
    """A classifier of MMPretrain, or a student without a head."""

    task = 'classification'

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
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
        features = self.model.extract_feat(self.prepare(images))
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
        """What the library computes of RGB photos, by its own way."""
        model = self.model
        bgr = images.flip(1)
        with torch.no_grad():
            x = model.data_preprocessor(dict(inputs=bgr), False)['inputs']
            features = model.extract_feat(x)
            result = {'embedding': features[-1]}
            if model.head is not None:
                result['logits'] = model.head(features)
        return result
