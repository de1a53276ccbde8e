import pytest
from mmpretrain.models import ResNet

from mmhgkd.utils import ConfigError
from mmhgkd.utils.build_errors import building


def test_errors_without_words() -> None:
    """Layer decay on a ResNet-18 raises NotImplementedError alone."""
    refusal = '`get_layer_depth` is not implemented for this'
    with pytest.raises(ConfigError, match=refusal), building('AdamW'):
        ResNet(18).get_layer_depth('backbone.conv1.weight')
    refusal = '`raise AssertionError` does not hold'
    with pytest.raises(ConfigError, match=refusal), building('AdamW'):
        raise AssertionError
