import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmhgkd.masks import UnitMask
from mmhgkd.registry import MODELS
from mmhgkd.sparse.rows import rows_to_dense
from mmhgkd.teachers import BaseTeacher
from mmhgkd.utils import ConfigError, one_of

from .check_backbone import check_backbone, check_channels
from .check_teacher import check_grids, check_teacher


@MODELS.register_module()
class HGKD(BaseSelfSupervisor):
    """Heterogeneous generative knowledge distillation.

    A frozen Transformer that was pre-trained by masked image modeling
    teaches a sparse CNN: the student sees the visible units of an image, its
    UNet-like decoder fills the holes, and the decoded tokens imitate the
    teacher's (arXiv 2309.09571). Which parts of this take place is a matter
    of the losses in ``head``: without one that reads the decoder there is
    none. With a ``PixelTeacher`` and the masked region it is SparK's pixel
    reconstruction on the same student.

    The teacher is not a submodule: it is in no optimizer and no checkpoint,
    and a copy of the model shares it.

    Args:
        teacher (dict): Config of the teacher.
        backbone (dict): Config of the sparse student.
        head (dict): Config of the losses.
        neck (dict, optional): Config of the decoder, which is built if a loss
            reads it. Defaults to None.
        mask (dict, optional): Config of the mask generator. Defaults to None,
            which means ``RandomUnitMask`` with its defaults.
        data_preprocessor (dict, optional): Config of the preprocessor.
            Defaults to None.
        views (int): How often the student sees each image for one pass of
            the teacher, whose tokens are shared as in `data2vec 2.0
            <https://arxiv.org/abs/2212.07525>`_: each time with a mask of its
            own, and every second time mirrored, with the tokens. Worth it
            where the teacher costs more than the student. Defaults to 1.
        compile (bool or dict): Whether to compile teacher, backbone and
            decoder by ``torch.compile``, each on its own, at their first
            call; a dict is passed on as its options, such as
            ``dict(mode='reduce-overhead')``, which asks for CUDA graphs.
            State dicts stay the same, and a copy (the average of ``EMAHook``)
            is not compiled. A batch that is smaller than an earlier one, as
            the last of an epoch is without ``drop_last``, is computed
            uncompiled: another graph would take minutes. Defaults to False.
        init_cfg (dict, optional): Config of the initialization. Defaults to
            None.

    Raises:
        ConfigError: If teacher, decoder and losses do not fit together.
    """

    teacher: BaseTeacher

    def __init__(
        self,
        teacher: dict,
        backbone: dict,
        head: dict,
        neck: dict | None = None,
        mask: dict | None = None,
        data_preprocessor: dict | None = None,
        views: int = 1,
        compile: bool | dict = False,
        init_cfg: dict | None = None,
    ) -> None:
        losses = MODELS.build(head)
        if losses.reads_decoder and neck is None:
            raise ConfigError(
                "a loss reads the decoder's tokens: set `model.neck`, or "
                'leave out `head.feature_loss` and set `head.embedding.'
                "source='encoder'`"
            )
        super().__init__(
            backbone=backbone,
            neck=neck if losses.reads_decoder else None,
            head=losses,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.mask = MODELS.build(mask or dict(type='mmhgkd.RandomUnitMask'))
        # Past nn.Module's registration, see the class docstring.
        object.__setattr__(self, 'teacher', MODELS.build(teacher))
        check_channels(self.data_preprocessor, self.backbone)
        bands = self.teacher.bands or (0, 1, 2)
        mean, std = _image_norm(self.data_preprocessor, max(bands) + 1)
        self.teacher.set_image_norm(mean, std)
        self.views = views
        check_teacher(self.teacher, self.neck, losses, views)
        check_backbone(self.backbone, self.neck, losses, self.mask.unit)
        if not isinstance(compile, (bool, dict)):
            raise ConfigError(
                '`model.compile` must be True, False or a dict '
                f'of options of torch.compile, got {compile!r}'
            )
        self.compiled = compile is not False
        self._largest: dict[tuple, int] = {}
        if compile is not False:
            self._compile_parts({} if compile is True else compile)

    def extract_feat(
        self, inputs: Tensor, stage: str = 'backbone'
    ) -> tuple[Tensor, ...]:
        """Compute the dense features of unmasked images.

        Args:
            inputs (Tensor): Images, ``(B, 3, H, W)``.
            stage (str): 'backbone' gives maps, and 'neck' their means, which
                a classifier on this student begins with. Defaults to
                'backbone'.

        Returns:
            tuple[Tensor]: One map a stage, ``(B, C, h, w)``, or one mean,
            ``(B, C)``.
        """
        one_of('`stage` of extract_feat', stage, ('backbone', 'neck'))
        with self._begin_step(inputs, 'features'):
            features = super().extract_feat(inputs)
        if stage == 'neck':
            return tuple(x.mean((2, 3)) for x in features)
        return features

    def loss(
        self, inputs: Tensor, data_samples: list[DataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs (Tensor): Images, ``(B, 3, H, W)``.
            data_samples (list[DataSample]): Not used.
            **kwargs: Not used.

        Returns:
            dict[str, Tensor]: Losses and figures for the log, see
            :class:`DistillationHead`.
        """
        mask = self.mask(
            len(inputs) * self.views,
            *inputs.shape[2:],
            inputs.device,
            get_rank(),
        )
        if self.views > 1:
            # Drawn image by image, so that the masks of an image do not
            # depend on how many images its rank has.
            ids = mask.ids.unflatten(0, (len(inputs), self.views))
            mask = mask._replace(ids=ids.transpose(0, 1).flatten(0, 1))
        loss = self.head.feature_loss
        if (
            loss is not None
            and loss.region == 'masked'
            and mask.num_visible == mask.num_units
        ):
            raise ConfigError(
                "`head.feature_loss.region='masked'`, but nothing is masked: "
                f'with `mask.mask_ratio={self.mask.mask_ratio}` all '
                f'{mask.num_units} units of an image are visible; set '
                '`mask.mask_ratio=0.6`, or a larger crop in the pipeline'
            )
        target, tokens, features = self._distill(inputs, mask, self.views)
        visible = mask.visible(self.token_stride).flatten(1)
        return self.head.loss(tokens, features, target, visible)

    @torch.no_grad()
    def predict(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        draw: int = 0,
    ) -> list[DataSample]:
        """Compute what teacher and student see, for pictures.

        Args:
            inputs (Tensor): Images, ``(B, 3, H, W)``.
            data_samples (list[DataSample], optional): Receive the result.
                Defaults to None, which means new ones.
            draw (int): Number of the mask; the same number gives the same
                mask. Defaults to 0.

        Returns:
            list[DataSample]: Each with ``student_tokens`` and
            ``teacher_tokens`` ``(h, w, D)``, and ``visible``, the visible
            tokens ``(h, w)`` bool. Without a decoder the student's tokens
            are those of the stage that ``L_direct`` names last, zero where
            nothing was seen.

        Raises:
            ConfigError: If the losses give no tokens of the student.
        """
        mask = self.mask.draw(
            len(inputs), *inputs.shape[2:], draw, inputs.device
        )
        target, tokens, features = self._distill(inputs, mask)
        if tokens is None:
            tokens = self._direct_tokens(features)
        visible = mask.visible(self.token_stride)[:, 0]
        grid = visible.shape[1:]
        samples = data_samples or [DataSample() for _ in inputs]
        for index, sample in enumerate(samples):
            sample.set_field(
                tokens[index].unflatten(0, grid), 'student_tokens'
            )
            sample.set_field(
                target[index].unflatten(0, grid), 'teacher_tokens'
            )
            sample.set_field(visible[index], 'visible')
        return samples

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Entry of all modes.

        Args:
            inputs (Tensor): Images, ``(B, 3, H, W)``.
            data_samples (list[DataSample], optional): Defaults to None.
            mode (str): 'tensor' (dense feature maps of the unmasked images),
                'loss' or 'predict'. Defaults to 'tensor'.

        Returns:
            tuple[Tensor] or dict[str, Tensor] or list[DataSample]: What
            :meth:`extract_feat`, :meth:`loss` or :meth:`predict` returns.
        """
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        return super().forward(inputs, data_samples, mode)

    @property
    def image_channels(self) -> int:
        """Channels of the images, as they are normalized."""
        mean = getattr(self.data_preprocessor, 'mean', None)
        return 3 if mean is None else len(mean)

    @property
    def token_stride(self) -> int:
        """Pixels between two of the student's tokens."""
        if self.neck is not None:
            return self.neck.out_stride
        direct = self.head.direct_loss
        return self.mask.unit if direct is None else direct.out_stride

    def _distill(
        self, inputs: Tensor, mask: UnitMask, views: int = 1
    ) -> tuple[Tensor, Tensor | None, Any]:
        size = inputs.shape[2:]
        grid = check_grids(self.teacher, self.neck, self.head, *size)
        with self._begin_step(inputs, 'tokens'):
            target = self.teacher(inputs, mask)
            if views > 1:
                mirrored = target.unflatten(1, grid).flip(2).flatten(1, 2)
                target = _alternate(target, mirrored, views)
                inputs = _alternate(inputs, inputs.flip(3), views)
            features = self.backbone(inputs, mask)
            tokens = None
            if self.neck is not None:
                tokens = self.neck(features).flatten(2).transpose(1, 2)
        return target, tokens, features

    def _direct_tokens(self, features: Any) -> Tensor:
        """Tokens of ``L_direct`` on the whole grid, ``(B, L, D)``."""
        direct = self.head.direct_loss
        if direct is None:
            raise ConfigError(
                'these losses give the student no tokens to draw: '
                '`head.feature_loss` or `head.direct_loss` would'
            )
        grid = rows_to_dense(
            direct.project(features)[-1], features[-1].mask, direct.out_stride
        )
        return grid.flatten(2).transpose(1, 2)

    def _begin_step(
        self, inputs: Tensor, output: str
    ) -> AbstractContextManager[Any]:
        """In which context the parts compute the output of a batch."""
        if not self.compiled:
            return nullcontext()
        # Else CUDA graphs take each part for a step of its own, and free
        # the teacher's tokens when the student starts.
        torch.compiler.cudagraph_mark_step_begin()
        key = output, self.training, inputs.shape[2:]
        largest = self._largest.get(key, 0)
        self._largest[key] = max(largest, len(inputs))
        if len(inputs) >= largest:
            return nullcontext()
        return torch.compiler.set_stance('force_eager')

    def _compile_parts(self, options: dict) -> None:
        parts = (self.teacher, self.backbone, self.neck)
        for part in filter(None, parts):
            for module in part.modules():
                # A comparison with a NumPy scalar, which rates of drop path
                # are, breaks the graph.
                rate = getattr(module, 'drop_prob', None)
                if isinstance(rate, np.floating):
                    module.drop_prob = float(rate)
            part.compile(**options)

    def __deepcopy__(self, memo: dict[int, Any]) -> 'HGKD':
        # The averaged model of EMAHook needs no second teacher.
        memo[id(self.teacher)] = self.teacher
        result = memo[id(self)] = self.__new__(type(self))
        result.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return result

    def _apply(self, fn: Any, recurse: bool = True) -> 'HGKD':
        # Moves and casts reach submodules only.
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)


def _alternate(first: Tensor, second: Tensor, views: int) -> Tensor:
    """A batch of ``views`` parts that take turns."""
    return torch.cat(([first, second] * views)[:views])


def _image_norm(
    preprocessor: nn.Module, channels: int
) -> tuple[list[float], list[float]]:
    """Statistics, per channel, that the preprocessor normalizes with."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if mean is None or std is None:
        return [0.0] * channels, [1.0] * channels
    return mean.flatten().tolist(), std.flatten().tolist()
