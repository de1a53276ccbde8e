import pytest
from mmengine.config import Config

from mmhgkd.utils import ConfigError, preflight


def test_paths_of_nested_datasets() -> None:
    dataset = {'data_root': 'none'}
    cfg = Config(
        {
            'train_dataloader': {
                'dataset': {
                    'type': 'RepeatDataset',
                    'dataset': {
                        'type': 'ConcatDataset',
                        'datasets': [{'data_root': ''}, dataset],
                    },
                }
            }
        }
    )
    path = 'train_dataloader.dataset.dataset.datasets.1.data_root'
    with pytest.raises(ConfigError, match=f'none` of `{path}` does not exist'):
        preflight.check_data_roots(cfg, ['train_dataloader'])


def test_download_is_known_from_the_class_of_the_scope() -> None:
    """MMPretrain's CIFAR10 fetches itself, its ImageNet does not."""
    dataset = {'type': 'CIFAR10', 'data_root': 'none'}
    cfg = Config(
        {
            'default_scope': 'mmpretrain',
            'train_dataloader': {'dataset': dataset},
        }
    )
    preflight.check_data_roots(cfg, ['train_dataloader'])
    cfg.train_dataloader.dataset.type = 'ImageNet'
    with pytest.raises(ConfigError):
        preflight.check_data_roots(cfg, ['train_dataloader'])


def test_remote_checkpoints_are_not_looked_for() -> None:
    cfg = Config(
        {
            'load_from': 'https://example.org/a.pth',
            'model': {'init_cfg': {'checkpoint': 'torchvision://resnet50'}},
        }
    )
    preflight.check_load_from(cfg)
    preflight.check_model_checkpoints(cfg)
