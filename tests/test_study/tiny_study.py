from pathlib import Path
from typing import Any

import yaml

from mmhgkd.apis.configs import config_folder

TEACHER = config_folder() / 'mae' / 'vit-micro_scenes.safetensors'


def content(data_root: Path, **changes: Any) -> dict[str, Any]:
    """A study of two arms that takes seconds."""
    small = {
        'model.backbone.stem_channels': 8,
        'model.backbone.base_channels': 8,
        'model.neck.in_channels': [8, 16, 32, 64],
        'model.neck.width': 16,
        'model.head.queue.size': 10,
        'train_dataloader.batch_size': 8,
        'default_hooks.logger.interval': 1,
    }
    study: dict[str, Any] = dict(
        data_root=str(data_root),
        epochs=1,
        seeds=[0],
        gradient_interval=2,
        teacher=dict(checkpoint=str(TEACHER)),
        options=small,
        finetune=dict(
            config='classification/r18_finetune_folder',
            epochs=1,
            options={
                'model.backbone.stem_channels': 8,
                'model.backbone.base_channels': 8,
                'model.head.in_channels': 64,
                'train_dataloader.batch_size': 8,
            },
        ),
        arms=[
            dict(
                name='scratch', config='hgkd/r18_scenes_unet', method='scratch'
            ),
            dict(
                name='centered',
                config='hgkd/r18_scenes_unet',
                options={'model.head.similarity_loss.center': 'mean'},
            ),
        ],
    )
    study.update(changes)
    return study


def write_study(path: Path, study: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return str(path)
