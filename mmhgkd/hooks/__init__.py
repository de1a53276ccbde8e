from .invalid_loss_hook import InvalidLossHook
from .late_runtime_info_hook import LateRuntimeInfoHook
from .loss_gradient_hook import LossGradientHook
from .panel_hook import PanelHook
from .pretrained_check_hook import PretrainedCheckHook
from .progress_hook import ProgressHook
from .stop_on_signal_hook import StopOnSignalHook
from .unreadable_images_hook import UnreadableImagesHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'InvalidLossHook',
    'LateRuntimeInfoHook',
    'LossGradientHook',
    'PanelHook',
    'PretrainedCheckHook',
    'ProgressHook',
    'StopOnSignalHook',
    'UnreadableImagesHook',
    'WholeCheckpointHook',
]
