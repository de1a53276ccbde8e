from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mmhgkd.registry import MODELS


def fit_teacher_probe(cfg: Config, path: Path) -> None:
    """Fit a linear classifier to the teacher's mean patch tokens.

    On the train split, with the settings of :class:`LinearProbeAccuracy`.

    Args:
        cfg (Config): Config of a pre-training: its teacher, its preprocessor,
            and the labelled images of its ``val_dataloader``.
        path (Path): Receives ``weight`` ``(C, D)`` and ``bias`` ``(C, )`` of
            the classifier.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        device = get_device()
        teacher = MODELS.build(
            {**cfg.model.teacher, 'target_norm': 'none', 'input': 'full'}
        ).to(device)
        preprocessor = MODELS.build(cfg.data_preprocessor).to(device)
        teacher.set_image_norm(preprocessor.mean, preprocessor.std)
        embeddings, labels = [], []
        for batch in Runner.build_dataloader(cfg.val_dataloader):
            data = preprocessor(batch, False)
            chosen = [
                index
                for index, sample in enumerate(data['data_samples'])
                if sample.split == 'train'
            ]
            if chosen:
                tokens = teacher(data['inputs'][chosen])
                embeddings.append(tokens.double().mean(1).cpu())
                labels += [
                    data['data_samples'][index].gt_label.item()
                    for index in chosen
                ]
    weight, bias = fit_linear(torch.cat(embeddings), torch.tensor(labels))
    torch.save(dict(weight=weight, bias=bias), path)


def fit_linear(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a logistic regression on standardized embeddings.

    Args:
        embeddings (Tensor): ``(N, D)``.
        labels (Tensor): Class ids from 0 on, each at least once, ``(N, )``.

    Returns:
        tuple[Tensor, Tensor]: Weight ``(C, D)`` and bias ``(C, )``, fp32, for
        embeddings that are not standardized.
    """
    scaler = StandardScaler()
    probe = LogisticRegression(C=0.01, max_iter=1000).fit(
        scaler.fit_transform(embeddings.double().numpy()), labels.numpy()
    )
    coefficients, intercept = probe.coef_, probe.intercept_
    if len(coefficients) == 1:  # of two classes only the second has a row
        coefficients = np.concatenate([0 * coefficients, coefficients])
        intercept = np.concatenate([0 * intercept, intercept])
    weight = coefficients / scaler.scale_
    bias = intercept - weight @ scaler.mean_
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
