import pytest
from mmpretrain.models import ResNet

from mmhgkd.registry import MODELS
from mmhgkd.utils import ConfigError
from mmhgkd.utils.build_errors import building, clear_build_errors


def test_errors_without_words() -> None:
    """Layer decay on a ResNet-18 raises NotImplementedError alone."""
    refusal = '`get_layer_depth` is not implemented for this'
    with pytest.raises(ConfigError, match=refusal), building('AdamW'):
        ResNet(18).get_layer_depth('backbone.conv1.weight')
    refusal = '`raise AssertionError` does not hold'
    with pytest.raises(ConfigError, match=refusal), building('AdamW'):
        raise AssertionError


def test_options_of_a_parent_that_are_not_passed_on() -> None:
    """`num_layers` is an argument of BaseTeacher alone."""
    teacher = dict(type='mmhgkd.TimmTeacher', model_name='a.b', num_layers=2)
    text = '`num_layers` is no option of `TimmTeacher`; did you mean `layer`'
    with pytest.raises(ConfigError, match=text), clear_build_errors():
        MODELS.build(teacher)
