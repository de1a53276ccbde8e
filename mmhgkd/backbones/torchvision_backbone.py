from typing import Any

import torchvision
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError

_HEADS = ('aux1', 'aux2', 'avgpool', 'dropout', 'fc', 'classifier')
# Networks that warn without them, or build the classifiers of inner stages.
_OPTIONS: dict[str, dict[str, Any]] = {
    'googlenet': dict(aux_logits=False, init_weights=False),
    'inception_v3': dict(aux_logits=False, init_weights=False),
}


@MODELS.register_module()
class TorchvisionBackbone(BaseModule):
    """A CNN of torchvision without its classifier, for ``SparseNetwork``.

    It returns the map that torchvision averages. Its keys are those of
    torchvision after ``model.``. No branch is left out at random in the
    training, which has no sparse form, and classifiers of inner stages are
    left out.

    Args:
        model_name (str): Such as 'resnext50_32x4d'.
        init_cfg (dict, optional): Of MMEngine. Defaults to None.
        **kwargs: Other arguments of the network.

    Raises:
        ConfigError: If torchvision has no such network, or its layers are not
            run one after the other.
    """

    def __init__(
        self, model_name: str, init_cfg: dict | None = None, **kwargs: Any
    ) -> None:
        super().__init__(init_cfg)
        models = torchvision.models
        if model_name not in models.list_models(models):
            raise ConfigError(f'torchvision has no network {model_name!r}')
        options = {**_OPTIONS.get(model_name, {}), **kwargs}
        network: Any = models.get_model(model_name, **options)
        if not {'classifier', 'fc'} & set(dict(network.named_children())):
            raise ConfigError(
                f"torchvision's {model_name} is no chain of layers with a "
                'classifier behind it'
            )
        for name in _HEADS:
            if hasattr(network, name):
                delattr(network, name)
        for layer in network.modules():
            for key, child in layer.named_children():
                if isinstance(child, StochasticDepth):
                    setattr(layer, key, nn.Identity())
        self.model = network
        self.model_name = model_name

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the last map, ``(B, C, H, W)``, in a tuple."""
        for layer in self.model.children():
            x = layer(x)
        if self.model_name.startswith('densenet'):
            # torchvision has it between the layers and the average.
            x = functional.relu(x)
        return (x,)
