"""A task of one weight, for runs of the command line tools."""

import torch
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import Tensor
from torch.utils.data import Dataset


@MODELS.register_module()
class ToolModel(BaseModel):
    """Counts its training steps in a buffer."""

    def __init__(self, teacher: dict[str, str] | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.register_buffer('steps', torch.zeros(()))
        self.register_buffer('world_size', torch.zeros(()))

    def forward(
        self, inputs: list[Tensor], mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[Tensor]:
        output = self.weight * torch.stack(list(inputs))
        if mode == 'loss':
            self.steps += 1
            self.world_size.fill_(get_world_size())
            return {'loss': output.mean()}
        return list(output)


@DATASETS.register_module()
class ToolDataset(Dataset):
    """Four numbers."""

    def __init__(
        self,
        data_root: str = '',
        datasets: list[dict[str, str]] | None = None,
        download: bool = False,
    ) -> None:
        self.data_root = data_root

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {'inputs': torch.full((1,), float(index))}


@DATASETS.register_module()
class ToolDownloadDataset(ToolDataset):
    """Would fetch its numbers by itself."""

    def __init__(self, data_root: str = '', download: bool = True) -> None:
        super().__init__(data_root, download=download)


@METRICS.register_module()
class ToolMetric(BaseMetric):
    """Sum of the predictions."""

    def process(
        self, data_batch: dict[str, Tensor], data_samples: list[Tensor]
    ) -> None:
        self.results += [float(sample) for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {'sum': sum(results)}
