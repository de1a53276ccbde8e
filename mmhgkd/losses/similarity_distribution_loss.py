import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError, one_of
from mmhgkd.utils.value_checks import check_weight, is_number

from .centering import CENTERS, center_embeddings
from .pearson import pearson_correlation

DISTANCES = ('pearson', 'kl', 'ce')


@MODELS.register_module()
class SimilarityDistributionLoss(BaseModule):
    """``L_sim``: do student and teacher see the same neighbors?

    The similarities of an image to the embeddings in the memory queue form
    one distribution for the student and one for the teacher. H-GKD
    (arXiv 2309.09571) compares them by Pearson's coefficient; the temperature
    and the other distances are options of this project: inter- and
    intra-correlation as in DIST (arXiv 2205.10536), cross-entropy as in SEED
    (arXiv 2101.04731).

    Args:
        distance (str): 'pearson' (one minus the correlation), 'kl' or 'ce'.
            Defaults to 'pearson'.
        temperature (float, optional): Divisor of the cosines in the softmax;
            None compares the cosines themselves. Defaults to 0.2.
        include_self (bool): Whether the image's own teacher embedding is an
            entry besides those of the queue. Defaults to True.
        intra_weight (float): Weight of the correlation over the batch of
            each queue entry, besides that over the queue of each image.
            Defaults to 0.0.
        center (str): What is taken from all embeddings before they are
            compared: 'none', 'mean' (the mean of the queue) or 'whiten' (its
            mean and covariance), see :func:`center_embeddings`.
            Defaults to 'none'.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: If an option is out of range or does not fit another.
    """

    def __init__(
        self,
        distance: str = 'pearson',
        temperature: float | None = 0.2,
        include_self: bool = True,
        intra_weight: float = 0.0,
        center: str = 'none',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        one_of('similarity_loss `distance`', distance, DISTANCES)
        if temperature is not None and not (
            is_number(temperature) and temperature > 0
        ):
            raise ConfigError(
                'similarity_loss `temperature` must be '
                f'positive or None, got {temperature!r}'
            )
        if temperature is None and distance != 'pearson':
            raise ConfigError(
                f'similarity_loss `distance={distance!r}` '
                'compares probabilities; set a `temperature`'
            )
        if intra_weight and distance != 'pearson':
            raise ConfigError(
                'similarity_loss `intra_weight` belongs to '
                f"`distance='pearson'`, not {distance!r}"
            )
        one_of('similarity_loss `center`', center, CENTERS)
        self.distance = distance
        self.temperature = temperature
        self.include_self = include_self
        self.intra_weight = intra_weight
        self.center = center
        check_weight('similarity_loss `loss_weight`', loss_weight)
        self.loss_weight = loss_weight

    def forward(
        self, student: Tensor, teacher: Tensor, bank: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare the two similarity distributions of a batch.

        Args:
            student (Tensor): Student embeddings of unit norm, ``(B, D)``.
            teacher (Tensor): Teacher embeddings of unit norm, ``(B, D)``.
            bank (Tensor): Queue of teacher embeddings, ``(K, D)``.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: The weighted scalar loss, and
            figures for the log: ``pearson`` (mean correlation over the
            queue) and ``self_variance_share`` (share of the variance of the
            teacher's distribution that its self entry makes up; near one the
            correlation says nothing but "is this the same image").
        """
        dtype = torch.promote_types(student.dtype, torch.float32)
        # Autocast would undo the promotion inside the matrix products.
        with torch.autocast(student.device.type, enabled=False):
            bank = bank.to(dtype)
            student, teacher, bank = (
                center_embeddings(x.to(dtype), bank, self.center)
                for x in (student, teacher, bank)
            )
            q = self._similarity(student, teacher, bank)
            p = self._similarity(teacher, teacher, bank)
            if self.temperature is not None:
                q, p = q / self.temperature, p / self.temperature
            loss = self._distance(q, p)
            with torch.no_grad():
                logs = self._logs(self._distribution(q), self._distribution(p))
        return self.loss_weight * loss, logs

    def _similarity(
        self, embedding: Tensor, teacher: Tensor, bank: Tensor
    ) -> Tensor:
        similarity = embedding @ bank.T
        if not self.include_self:
            return similarity
        own = (embedding * teacher).sum(-1, keepdim=True)
        return torch.cat([own, similarity], dim=1)

    def _distribution(self, logits: Tensor) -> Tensor:
        return logits if self.temperature is None else logits.softmax(-1)

    def _distance(self, q: Tensor, p: Tensor) -> Tensor:
        if self.distance == 'pearson':
            student, teacher = self._distribution(q), self._distribution(p)
            loss = 1 - pearson_correlation(student, teacher).mean()
            if self.intra_weight:
                # The self column holds another key for every image.
                start = int(self.include_self)
                intra = pearson_correlation(
                    student[:, start:], teacher[:, start:], dim=0
                )
                loss = loss + self.intra_weight * (1 - intra.mean())
            return loss
        log_q = q.log_softmax(-1)
        if self.distance == 'ce':
            return -(p.softmax(-1) * log_q).sum(-1).mean()
        return F.kl_div(
            log_q, p.log_softmax(-1), reduction='batchmean', log_target=True
        )

    def _logs(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        logs = dict(pearson=pearson_correlation(student, teacher).mean())
        if self.include_self:
            deviation = (teacher - teacher.mean(-1, keepdim=True)).square()
            share = deviation[:, 0] / deviation.sum(-1).clamp(min=1e-30)
            logs['self_variance_share'] = share.mean()
        return logs
