import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.utils import one_of
from mmhgkd.utils.value_checks import check_weight

DISTANCES = ('mse', 'smooth_l1', 'l1', 'cosine')
REGIONS = ('all', 'masked', 'visible')


@MODELS.register_module()
class FeatureImitationLoss(BaseModule):
    """``L_feat``: distance of the student's patch tokens to the teacher's.

    H-GKD (arXiv 2309.09571) uses the mean squared error; the other distances
    and the regions are options of this project. Computed in fp32 at least.

    Args:
        distance (str): 'mse', 'smooth_l1', 'l1' or 'cosine' (one minus the
            cosine of the two tokens). Defaults to 'mse'.
        region (str): Tokens that count: 'all', 'masked' or 'visible'.
            Defaults to 'all'.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: If ``distance`` or ``region`` is unknown, or
            ``loss_weight`` is no weight.
    """

    def __init__(
        self,
        distance: str = 'mse',
        region: str = 'all',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        one_of('feature_loss `distance`', distance, DISTANCES)
        one_of('feature_loss `region`', region, REGIONS)
        self.distance = distance
        self.region = region
        check_weight('feature_loss `loss_weight`', loss_weight)
        self.loss_weight = loss_weight

    def forward(
        self, student: Tensor, teacher: Tensor, visible: Tensor
    ) -> Tensor:
        """Mean distance over the tokens of the region.

        Args:
            student (Tensor): Decoded tokens, ``(B, L, D)``.
            teacher (Tensor): Target tokens, ``(B, L, D)``.
            visible (Tensor): Tokens that the student saw, ``(B, L)`` bool.

        Returns:
            Tensor: Weighted scalar; zero where the region is empty.
        """
        distance = token_distance(student, teacher, self.distance)
        if self.region == 'all':
            return self.loss_weight * distance.mean()
        chosen = visible if self.region == 'visible' else ~visible
        total = (distance * chosen).sum() / chosen.sum().clamp(min=1)
        return self.loss_weight * total


def token_distance(student: Tensor, teacher: Tensor, distance: str) -> Tensor:
    """Distance of every token, in fp32 at least.

    Args:
        student (Tensor): ``(..., D)``.
        teacher (Tensor): ``(..., D)``.
        distance (str): One of ``DISTANCES``.

    Returns:
        Tensor: ``(...)``.
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    student, teacher = student.to(dtype), teacher.to(dtype)
    if distance == 'cosine':
        return 1 - F.cosine_similarity(student, teacher, dim=-1)
    function = {
        'mse': F.mse_loss,
        'smooth_l1': F.smooth_l1_loss,
        'l1': F.l1_loss,
    }[distance]
    return function(student, teacher, reduction='none').mean(-1)
