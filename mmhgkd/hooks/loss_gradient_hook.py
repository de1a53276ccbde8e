from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmhgkd.registry import HOOKS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.unwrapped import unwrapped


@HOOKS.register_module()
class LossGradientHook(Hook):
    """Logs what ``L_feat`` and ``L_sim`` each ask of the student's backbone.

    The gradient of each weighted loss with respect to all parameters of the
    backbone, the mean over ranks: ``gradient_feat`` and ``gradient_sim`` are
    the two norms, before clipping, and ``gradient_cosine`` is the cosine of
    the angle between them. A loss that is left out has no figures.

    It looks at the graph of the step itself, so training stays as it is, and
    a step with figures takes the time of a further backward pass a loss.

    Args:
        interval (int): Iterations between two looks. Defaults to 100.

    Raises:
        ConfigError: If the interval is not positive, or the model is
            compiled.
    """

    def __init__(self, interval: int = 100) -> None:
        if interval < 1:
            raise ConfigError(
                '`interval` of LossGradientHook must be positive, got '
                f'{interval}'
            )
        self.interval = interval
        self._handle: Any = None
        self._is_due = False

    def before_train(self, runner: Runner) -> None:
        """Listen to the losses of the model."""
        model = unwrapped(runner.model)
        if getattr(model, 'compiled', False):
            raise ConfigError(
                'LossGradientHook passes through the graph of a step several '
                'times, which compiled parts do not allow; set '
                '`model.compile=False` or leave the hook out'
            )
        self._handle = model.register_forward_hook(self._add_figures)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Decide whether to look at this step."""
        self._is_due = self.every_n_train_iters(runner, self.interval)

    def after_train(self, runner: Runner) -> None:
        """Let go of the model."""
        self._handle.remove()

    def _add_figures(self, model: Any, args: Any, outputs: Any) -> None:
        if not (self._is_due and isinstance(outputs, dict)):
            return
        self._is_due = False
        parameters = [
            x for x in model.backbone.parameters() if x.requires_grad
        ]
        gradients = {
            name: flat_gradient(outputs[f'loss_{name}'], parameters)
            for name in ('feat', 'sim')
            if f'loss_{name}' in outputs
        }
        for name, gradient in gradients.items():
            outputs[f'gradient_{name}'] = gradient.norm()
        if len(gradients) == 2:
            outputs['gradient_cosine'] = F.cosine_similarity(
                gradients['feat'], gradients['sim'], dim=0, eps=1e-30
            )


def flat_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Gradient of a loss as one vector ``(P, )``, the mean over all ranks.

    The graph is kept. Parameters that the loss does not depend on count as
    zero. The result has fp32 at least.
    """
    found = torch.autograd.grad(
        loss, parameters, retain_graph=True, materialize_grads=True
    )
    flat = torch.cat([gradient.flatten() for gradient in found])
    flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
    all_reduce(flat, op='mean')
    return flat
