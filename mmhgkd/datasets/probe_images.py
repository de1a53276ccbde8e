from collections.abc import Sequence
from typing import Any

from mmengine.dataset import ConcatDataset

from mmhgkd.registry import DATASETS

from .image_folder import ImageFolder


@DATASETS.register_module()
class ProbeImages(ConcatDataset):
    """Labelled images of several splits, to classify one with another.

    kNN and linear probe learn from the bank split and are measured on the
    query split; one dataloader brings both, told apart by ``split``.

    Args:
        data_root (str): Folder of the data set, see :class:`ImageFolder`.
        splits (Sequence[str]): Its splits, the bank first.
            Defaults to ('train', 'val').
        max_bank_images (int, optional): Keep a random choice of that many
            images of the first split. Defaults to None, which means all.
        **kwargs: Other arguments of :class:`ImageFolder`.
    """

    def __init__(
        self,
        data_root: str,
        splits: Sequence[str] = ('train', 'val'),
        max_bank_images: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [
                ImageFolder(
                    data_root,
                    split,
                    with_label=True,
                    max_images=None if index else max_bank_images,
                    **kwargs,
                )
                for index, split in enumerate(splits)
            ]
        )
