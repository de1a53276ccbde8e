import pytest

from mmhgkd.apis import config_folder, load_config


def test_loads_by_name() -> None:
    assert load_config('hgkd/r50_mae').model.type == 'mmhgkd.HGKD'
    assert (config_folder() / 'hgkd' / 'r50_mae.py').is_file()


@pytest.mark.parametrize('name', ['hgkd/r51_mae', '_base_/default_runtime'])
def test_unknown_name(name: str) -> None:
    with pytest.raises(ValueError, match='there is no config'):
        load_config(name)
