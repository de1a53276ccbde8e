"""The form of the paper and the recommended one are what the docs say."""

from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'hgkd'
IMAGENET = [
    path.name
    for teacher in ('mae', 'beit')
    for path in CONFIGS.glob(f'*_{teacher}*.py')
    if 'paper' not in path.name
]


def test_paper() -> None:
    cfg = Config.fromfile(CONFIGS / 'r50_mae_paper.py')
    model, head = cfg.model, cfg.model.head
    assert model.neck.type == 'mmhgkd.UNetNeck'
    assert model.mask.mask_ratio == 0.6
    assert model.get('views', 1) == 1
    assert 'direct_loss' not in head
    weights = [
        head[name].get('loss_weight', 1.0)
        for name in ('feature_loss', 'similarity_loss')
    ]
    assert weights == [1.0, 1.0]
    assert head.similarity_loss.get('distance', 'pearson') == 'pearson'


@pytest.mark.parametrize('name', sorted(IMAGENET))
def test_recommended(name: str) -> None:
    cfg = Config.fromfile(CONFIGS / name)
    model = cfg.model
    assert {key for key in model.head if key != 'type'} == {'direct_loss'}
    assert 'neck' not in model
    assert (model.views, model.teacher.get('input', 'full')) == (2, 'full')
    assert model.teacher.target_norm == 'whiten'
    assert model.teacher.precision == 'auto'
    assert model.mask.mask_ratio == 0
    assert len(model.head.direct_loss.in_channels) == 2
    # The rate is for 4096 views.
    assert model.views * cfg.auto_scale_lr.base_batch_size == 4096
    assert cfg.data_preprocessor.non_blocking
    assert cfg.train_dataloader.pin_memory


def test_metafile_names_the_form() -> None:
    """What is trained, not what the name of a config suggests."""
    symbols = dict(
        direct_loss='L_direct', feature_loss='L_feat', similarity_loss='L_sim'
    )
    text = (CONFIGS / 'metafile.yml').read_text(encoding='utf-8')
    models = yaml.safe_load(text)['Models']
    assert {x['Name'] for x in models} == {
        x.stem for x in CONFIGS.glob('*.py')
    }
    for entry in models:
        cfg = Config.fromfile(CONFIGS / f'{entry["Name"]}.py')
        losses = [symbols[x] for x in symbols if cfg.model.head.get(x)]
        trained = ' + '.join(losses)
        if 'neck' in cfg.model:
            trained += (
                f', {cfg.model.neck.type[len("mmhgkd.") : -len("Neck")]}'
            )
        kind, form = entry['Metadata']['Form'].split(': ')
        assert form == trained
        assert (kind == 'the paper') == ('paper' in entry['Name'])
        assert (kind == 'recommended') == (losses == ['L_direct'])
