from typing import Any

from mmengine.dataset import default_collate
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhgkd.algorithms import HGKD
from mmhgkd.registry import HOOKS
from mmhgkd.utils import ConfigError, one_of
from mmhgkd.utils.unwrapped import unwrapped
from mmhgkd.visualization import fixed_samples, model_panel
from mmhgkd.visualization.saliency import SOURCES


@HOOKS.register_module()
class PanelHook(Hook):
    """Draws what teacher and student see of the same images, again and again.

    The panel has the image, its visible units, the tokens of teacher and
    student in one basis of principal components, the error of each token,
    and for a student of pixels its reconstruction; see
    :func:`mmhgkd.visualization.model_panel`. It goes to all backends of the
    visualizer: ``LocalVisBackend`` writes it below the work folder,
    ``TensorboardVisBackend`` shows it beside the curves.

    The images come from the validation data, or without such from the
    training data, and do not change a run that draws them.

    Args:
        interval (int): Epochs between two panels; the last epoch has one in
            any case. Defaults to 1.
        num_images (int): Rows of the panel. Defaults to 4.
        draw (int): Number of the mask. Defaults to 0.
        saliency (str, optional): Adds the units that drive a hidden token:
            of its 'output' or its 'error'. Defaults to None.
        untrained (bool): Whether to draw the student before its first epoch,
            too, as epoch 0. Defaults to False.

    Raises:
        ConfigError: If an option is out of range, or the model is no HGKD.
    """

    priority = 'LOW'

    def __init__(
        self,
        interval: int = 1,
        num_images: int = 4,
        draw: int = 0,
        saliency: str | None = None,
        untrained: bool = False,
    ) -> None:
        if interval < 1 or num_images < 1:
            raise ConfigError(
                '`interval` and `num_images` of PanelHook must be at least 1, '
                f'got {interval} and {num_images}'
            )
        one_of('`saliency` of PanelHook', saliency, (None, *SOURCES))
        self.interval = interval
        self.num_images = num_images
        self.draw = draw
        self.saliency = saliency
        self.untrained = untrained

    def before_train(self, runner: Runner) -> None:
        """Take the images, and draw what an untrained student sees."""
        model = unwrapped(runner.model)
        if not isinstance(model, HGKD):
            raise ConfigError(
                'PanelHook draws teacher and student of mmhgkd.HGKD, not '
                f'{type(model).__name__}; take it out of `custom_hooks`'
            )
        validates = runner.val_loop is not None
        name = 'val_dataloader' if validates else 'train_dataloader'
        self.batch = default_collate(
            fixed_samples(getattr(runner, name).dataset, self.num_images)
        )
        if self.untrained and runner.iter == 0:
            self._draw(runner, 0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw the panel."""
        is_due = self.every_n_epochs(runner, self.interval)
        if is_due or self.is_last_train_epoch(runner):
            self._draw(runner, runner.epoch + 1)

    @master_only
    def _draw(self, runner: Runner, epoch: int) -> None:
        model: Any = unwrapped(runner.model)
        inputs = model.data_preprocessor(self.batch)['inputs']
        panel = model_panel(model, inputs, self.draw, self.saliency)
        runner.visualizer.add_image('panel', panel, step=epoch)
