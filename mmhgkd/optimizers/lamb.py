from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from mmhgkd.registry import OPTIMIZERS
from mmhgkd.utils import ConfigError

# Elements that are updated together: as many as caches hold, which also
# bounds the memory of the updates.
CHUNK = 2**22


@OPTIMIZERS.register_module()
class Lamb(Optimizer):
    """LAMB whose step is a few operations on all parameters together.

    `Large Batch Optimization for Deep Learning: Training BERT in 76 minutes
    <https://arxiv.org/abs/1904.00962>`_: Adam whose update is scaled, for
    each parameter tensor, by the ratio of the norms of tensor and update. It
    computes what mmpretrain's ``Lamb`` computes, and the two read each
    other's state dicts. It also runs together parameters of different groups
    (``paramwise_cfg`` gives every parameter a group of its own), and never
    makes the host wait for the device.

    Args:
        params (Iterable): Parameters, or dicts that define groups of them.
        lr (float): Learning rate. Defaults to 1e-3.
        bias_correction (bool): Whether to correct the averages for their
            start at zero. Defaults to True.
        betas (tuple[float, float]): Decay of the averages of the gradient
            and of its square. Defaults to (0.9, 0.999).
        eps (float): Added to the root of the averaged square.
            Defaults to 1e-6.
        weight_decay (float): Decoupled from the averages, but inside the
            norm of the update. Defaults to 0.01.
        grad_averaging (bool): Whether a new gradient enters its average with
            ``1 - betas[0]`` instead of 1. Defaults to True.
        max_grad_norm (float, optional): Gradients are scaled down, in place,
            to this norm over all parameters; None leaves them to the
            ``clip_grad`` of the optimizer wrapper. Defaults to 1.0.
        trust_clip (bool): Whether the ratio is at most one.
            Defaults to False.
        always_adapt (bool): Whether the ratio also applies to parameters
            without weight decay. Defaults to False.

    Raises:
        ConfigError: If an option is out of range.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        grad_averaging: bool = True,
        max_grad_norm: float | None = 1.0,
        trust_clip: bool = False,
        always_adapt: bool = False,
    ) -> None:
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(
                f'optimizer `betas` must be two numbers in [0, 1), got {betas}'
            )
        if max_grad_norm is not None and max_grad_norm <= 0:
            raise ConfigError(
                'optimizer `max_grad_norm` must be positive or '
                f'None, got {max_grad_norm}'
            )
        super().__init__(
            params,
            dict(
                lr=lr,
                bias_correction=bias_correction,
                betas=betas,
                eps=eps,
                weight_decay=weight_decay,
                grad_averaging=grad_averaging,
                max_grad_norm=max_grad_norm,
                trust_clip=trust_clip,
                always_adapt=always_adapt,
            ),
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient.

        Args:
            closure (Callable, optional): Evaluates the model again and
                returns the loss. Defaults to None.

        Returns:
            Any: What ``closure`` returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._clip_gradients()
        alike: dict[tuple, list[tuple[Tensor, float]]] = defaultdict(list)
        for group in self.param_groups:
            group['step'] = group.get('step', 0) + 1
            options = (
                group['step'],
                group['bias_correction'],
                tuple(group['betas']),
                group['eps'],
                group['weight_decay'],
                group['grad_averaging'],
                group['trust_clip'],
                group['always_adapt'],
            )
            for parameter in group['params']:
                if parameter.grad is not None:
                    key = (parameter.device, parameter.dtype, *options)
                    alike[key].append((parameter, group['lr']))
        for key, members in alike.items():
            for chunk in _chunks(members):
                parameters, rates = zip(*chunk, strict=True)
                self._update(list(parameters), list(rates), *key[2:])
        return loss

    def _clip_gradients(self) -> None:
        limit = self.defaults['max_grad_norm']
        gradients = [
            parameter.grad
            for group in self.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        if any(gradient.is_sparse for gradient in gradients):
            raise RuntimeError(
                'Lamb takes dense gradients only; build the '
                'embedding with `sparse=False`'
            )
        if limit is not None and gradients:
            excess = (get_total_norm(gradients) / limit).clamp(min=1)
            torch._foreach_div_(gradients, excess)

    def _update(
        self,
        parameters: list[Tensor],
        rates: list[float],
        step: int,
        bias_correction: bool,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        grad_averaging: bool,
        trust_clip: bool,
        always_adapt: bool,
    ) -> None:
        """Update parameters that differ in their learning rates only."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update(
                    exp_avg=torch.zeros_like(parameter),
                    exp_avg_sq=torch.zeros_like(parameter),
                )
        gradients = [p.grad for p in parameters if p.grad is not None]
        averages = [self.state[p]['exp_avg'] for p in parameters]
        squares = [self.state[p]['exp_avg_sq'] for p in parameters]
        torch._foreach_mul_(averages, betas[0])
        torch._foreach_add_(
            averages, gradients, alpha=1 - betas[0] if grad_averaging else 1
        )
        torch._foreach_mul_(squares, betas[1])
        torch._foreach_addcmul_(
            squares, gradients, gradients, value=1 - betas[1]
        )
        first = 1 - betas[0] ** step if bias_correction else 1
        second = 1 - betas[1] ** step if bias_correction else 1
        # The correction of the average is in its divisor: a pass less.
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_mul_(divisors, first / sqrt(second))
        torch._foreach_add_(divisors, eps * first)
        steps = [-rate for rate in rates]
        if not weight_decay and not always_adapt:
            torch._foreach_addcdiv_(parameters, averages, divisors, steps)
            return
        updates = torch._foreach_div(averages, divisors)
        if weight_decay:
            torch._foreach_add_(updates, parameters, alpha=weight_decay)
        ratios = _trust_ratios(parameters, updates, trust_clip)
        torch._foreach_addcmul_(parameters, updates, ratios, steps)


def _chunks(
    members: Iterable[tuple[Tensor, float]],
) -> Iterator[list[tuple[Tensor, float]]]:
    chunk, size = [], 0
    for member in members:
        chunk.append(member)
        size += member[0].numel()
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _trust_ratios(
    parameters: Sequence[Tensor], updates: Sequence[Tensor], clip: bool
) -> list[Tensor]:
    """Ratio of the norms of parameter and update, 1 where one is zero."""
    norms = torch.stack(torch._foreach_norm(tuple(parameters)))
    update_norms = torch.stack(torch._foreach_norm(tuple(updates)))
    ratios = (norms / update_norms).where((norms > 0) & (update_norms > 0), 1)
    if clip:
        ratios = ratios.clamp(max=1)
    return list(ratios.unbind())
