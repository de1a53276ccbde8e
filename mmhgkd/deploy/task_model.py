"""The whole model of a checkpoint, with its head."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope

from mmhgkd.teachers.checkpoint import (
    State,
    find_differences,
    read_state_dict,
    summarize,
)
from mmhgkd.transfer.converters import read_student
from mmhgkd.transfer.converters.preprocessing import (
    Preprocessing,
    read_preprocessing,
)
from mmhgkd.transfer.converters.student import (
    building_from,
    check_finite,
    forget_start_weights,
    left_out_parts,
    read_config,
)
from mmhgkd.utils import ConfigError
from mmhgkd.utils.known_types import stored_scope

from .classifier import ClassifierGraph
from .detector import SingleStageGraph
from .graph import Graph, refuse
from .segmentor import SegmentorGraph
from .two_stage import TwoStageGraph

_EXTRAS = {'mmdet': 'det', 'mmseg': 'seg'}


@dataclass(frozen=True)
class TaskModel:
    """A model, and what a program around it has to know."""

    source: str  #: the checkpoint
    graph: Any  #: its :class:`Graph`
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()

    @property
    def model(self) -> BaseModel:
        """The model in the graph."""
        return self.graph.model


def read_task_model(
    checkpoint: str,
    config: Mapping[str, Any] | None = None,
    with_head: bool = True,
) -> TaskModel:
    """Read the model of a distillation or a downstream checkpoint, whole.

    Of a distillation it is the student alone. No code of the file is run.

    Args:
        checkpoint (str): File or URL of a checkpoint of MMEngine.
        config (Mapping, optional): Config of the training. Defaults to None,
            which means the one in the checkpoint.
        with_head (bool): False takes the backbone alone, whatever was
            trained. Defaults to True.

    Returns:
        TaskModel: The model, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If it cannot be built, or has a part that no graph can
            hold, which the error names.
    """
    stored, origin, classes = read_config(checkpoint, config)
    if not with_head or not left_out_parts(stored):
        student = read_student(checkpoint, config, with_head)
        model = student.build()
        preprocessing = read_preprocessing(student.config, model)
        return TaskModel(
            checkpoint,
            ClassifierGraph(model, preprocessing.bands),
            preprocessing,
            student.classes,
        )
    whole = Config(dict(stored))
    if origin is not None:
        whole.origin = origin
    model = _build(whole, checkpoint)
    with building_from(whole):
        graph = _graph(model)
    return TaskModel(
        checkpoint, graph, read_preprocessing(whole, model), classes
    )


def _build(config: Config, checkpoint: str) -> BaseModel:
    source = f'{checkpoint}: its config'
    scope = stored_scope(config, source)
    _need(scope)
    if scope == 'mmseg':
        # Its head is registered when it is imported.
        import mmhgkd.transfer.segmentation  # noqa: F401
    settings = config.model
    forget_start_weights(settings.backbone)
    if 'data_preprocessor' not in settings and config.get('data_preprocessor'):
        settings.data_preprocessor = config.data_preprocessor
    try:
        with (
            DefaultScope.overwrite_default_scope(scope),
            building_from(config),
        ):
            model = MODELS.build(settings)
    except ConfigError:
        raise
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise ConfigError(
            f'{checkpoint}: its model cannot be built ({error}); give the '
            'config of the training'
        ) from error
    _load(model, read_state_dict(checkpoint), checkpoint)
    model.train(False)
    return model


def _need(scope: str) -> None:
    try:
        __import__(scope)
    except ImportError as error:
        raise ConfigError(
            f'the model is one of {scope}, which cannot be imported '
            f'({error}); run `pip install "mmhgkd[{_EXTRAS.get(scope, "")}]"`'
        ) from error


def _load(model: BaseModel, state: State, checkpoint: str) -> None:
    own = model.state_dict()
    # Averages over the batches, which say nothing about the model.
    state = {k: v for k, v in state.items() if not k.startswith('ema_')}
    lines = summarize(find_differences(own, state))
    if lines:
        raise ConfigError(
            f'{checkpoint}: the weights do not fit the config '
            f'({"; ".join(lines)}); give the config of the training'
        )
    check_finite(state, checkpoint)
    model.load_state_dict(state)


def _graph(model: BaseModel) -> Graph:
    package = type(model).__module__.split('.')[0]
    if package == 'mmdet':
        from mmdet.models.detectors import (
            SingleStageDetector,
            TwoStageDetector,
        )

        if isinstance(model, TwoStageDetector):
            return TwoStageGraph(model)
        if isinstance(model, SingleStageDetector):
            return SingleStageGraph(model)
    if package == 'mmseg':
        from mmseg.models.segmentors import EncoderDecoder

        if type(model).predict is EncoderDecoder.predict and hasattr(
            model, 'decode_head'
        ):
            return SegmentorGraph(model)
    raise refuse(
        'model',
        model,
        'and ONNX graphs are made of classifiers of MMPretrain, encoders '
        'with a decoder of MMSegmentation, and detectors of one or two stages '
        'of MMDetection',
    )
