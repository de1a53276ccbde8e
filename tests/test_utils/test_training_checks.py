from typing import Any

import pytest

from mmhgkd.utils import ConfigError
from mmhgkd.utils.training_checks import check_log


def _settings(**part: Any) -> dict[str, Any]:
    return dict(log_processor=dict(custom_cfg=[part]))


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        (dict(data_src='loss', method_name='men'), 'method_name` must be one'),
        (dict(method_name='mean'), 'must be a list of dicts such as'),
        (
            dict(data_src='loss', method_name='mean', window_size=0),
            'window_size` must be a whole number',
        ),
    ],
)
def test_log_that_cannot_be_collected(
    part: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_log(_settings(**part))


@pytest.mark.parametrize('size', [1, 'epoch', 'global'])
def test_log_that_can_be_collected(size: int | str) -> None:
    part = dict(data_src='loss', method_name='mean', window_size=size)
    check_log(_settings(**part))
    check_log(dict(log_processor=dict(custom_cfg=None)))
