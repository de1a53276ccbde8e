from pathlib import Path

from mmengine.config import Config
from mmpretrain.apis.model import ModelHub
from modelindex.models.Model import Model

from mmhgkd.utils import ConfigError

from .converters.student import inference_dataloader, student_config

PACKAGE = Path(__file__).resolve().parents[1]
INDEX = 'model-index.yml'
_NAMES: list[str] = []


class HubModel(Model):
    """A model of this project, for ``mmpretrain.get_model``.

    Distilled students come without teacher, decoder and losses: these need a
    checkpoint of the teacher, and a trained student does not need them.
    """

    @property
    def config(self) -> Config:
        """The config; a ConfigError if it is none of mmpretrain."""
        path = self.data['Config']
        config = Config.fromfile(path)
        if config.default_scope != 'mmpretrain':
            raise ConfigError(
                f'{self.name} is a model of {config.default_scope}, not of '
                f'mmpretrain; build it from its config {path}'
            )
        if config.model.type == 'mmhgkd.HGKD':
            return student_config(config)
        config.test_dataloader = inference_dataloader(config)
        return config

    @property
    def weights(self) -> str:
        """URL of the weights; a ConfigError if none are published."""
        weights = self.data.get('Weights')
        if weights is None:
            name, config = self.name, Path(self.data['Config']).name
            problem = f'{name} has no training of its own'
            if 'Batch Size' in self.metadata.data:
                problem = (
                    f'there are no published weights of {name} (not yet run '
                    'at full scale); train it with tools/train.py and its '
                    f'config {config}'
                )
            raise ConfigError(
                f'{problem}; give the checkpoint of a student: '
                f"get_model('{name}', pretrained='epoch_N.pth')"
            )
        return weights


def register_models() -> tuple[str, ...]:
    """Make the models known to mmpretrain, by the names of their configs.

    Importing ``mmhgkd.apis`` does so too. Where the installation carries no
    index, as a copied package, there is nothing to register.
    """
    for root in (PACKAGE / '.mim', PACKAGE.parent):
        if _NAMES or not (root / INDEX).is_file():
            continue
        before = set(ModelHub._models_dict)
        ModelHub.register_model_index(root / INDEX, config_prefix=root)
        _NAMES.extend(sorted(set(ModelHub._models_dict) - before))
        for name in _NAMES:
            # What is built of a distillation is the student alone.
            ModelHub._models_dict[name].__class__ = HubModel
    return tuple(_NAMES)
