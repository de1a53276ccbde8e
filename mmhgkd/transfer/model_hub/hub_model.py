from pathlib import Path
from typing import Any

from mmengine.config import Config
from modelindex.load_model_index import load
from modelindex.models.Model import Model

from mmhgkd.utils import ConfigError

PACKAGE = Path(__file__).resolve().parents[2]
INDEX = 'model-index.yml'


class HubModel(Model):
    """A model of this project, for ``mmpretrain.get_model``.

    Distilled students come without teacher, decoder and losses: these need a
    checkpoint of the teacher, and a trained student does not need them.
    """

    @property
    def config(self) -> Config:
        """The config, read each time.

        Raises:
            ConfigError: If the model is none of mmpretrain.
        """
        from mmhgkd.apis.student_config import (
            inference_dataloader,
            student_config,
        )

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
        """URL of the weights.

        Raises:
            ConfigError: If none are published.
        """
        weights = self.data.get('Weights')
        if weights is None and 'Batch Size' not in self.metadata.data:
            raise ConfigError(
                f'{self.name} has no training of its own; give the checkpoint '
                f"of a student: get_model('{self.name}', "
                "pretrained='epoch_N.pth')"
            )
        if weights is None:
            raise ConfigError(
                f'there are no published weights of {self.name} (not yet run '
                'at full scale); train it with tools/train.py and its config '
                f'{Path(self.data["Config"]).name}, then give the checkpoint: '
                f"get_model('{self.name}', pretrained='epoch_N.pth')"
            )
        return weights


def register_models(hub: Any) -> None:
    """Put the models into mmpretrain's hub.

    Where the installation carries no index, as a copied package, there is
    nothing to register.

    Args:
        hub (type): ``mmpretrain.apis.model.ModelHub``.
    """
    # Its own method would replace the config by a path.
    for root in (PACKAGE / '.mim', PACKAGE.parent):
        if not (root / INDEX).is_file():
            continue
        for model in load(str(root / INDEX)).models:
            hub._models_dict[model.name.lower()] = HubModel(
                name=model.name,
                metadata=model.metadata,
                results=model.results,
                weights=model.weights,
                config=str(root / model.config),
                in_collection=model.in_collection,
            )
        return
