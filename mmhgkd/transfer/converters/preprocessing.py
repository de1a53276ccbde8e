"""How a photo becomes the input of a graph, with Pillow and NumPy alone."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.model import BaseModel
from PIL import Image, ImageOps

from mmhgkd.datasets import LoadImage
from mmhgkd.datasets.decode_image import ValueRange
from mmhgkd.utils import ConfigError
from mmhgkd.utils.find_type import type_name

from .student import inference_dataloader

#: Steps that change neither the size nor the pixels of a photo.
_SILENT = ('Load', 'Pack', 'Pad')
_OF_BANDS = ('bands', 'value_range')
_BACKENDS = {'cv2': False, 'pillow': True}


@dataclass(frozen=True)
class Preprocessing:
    """The way of a photo into the graph.

    Args:
        steps (list[dict]): What is done with the photo, in this order:
            ``{'do': 'short_edge', 'size': S}`` (the shorter side becomes S),
            ``{'do': 'fit', 'size': [H, W]}`` (as large as it can be within
            them, whichever way round), ``{'do': 'resize', 'size': [H, W]}``
            or ``{'do': 'center_crop', 'size': [H, W]}``. The first three have
            ``interpolation`` and ``antialias``, which OpenCV lacks and
            Pillow has.
        mean (list[float]): Mean of the pixels, by channel, in 0 to 255. The
            graph subtracts it itself.
        std (list[float]): Their standard deviation; the graph divides by it.
        bands (int, optional): Channels of the images, in the order of their
            files. Defaults to None, which means red, green and blue.
        value_range (list[float] or str, optional): Of
            :class:`mmhgkd.LoadImage`, where there are bands.
            Defaults to None.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    mean: list[float] = field(default_factory=lambda: [0.0] * 3)
    std: list[float] = field(default_factory=lambda: [1.0] * 3)
    bands: int | None = None
    value_range: ValueRange = None

    @property
    def size(self) -> list[int] | None:
        """Height and width of the result; None where they vary."""
        if self.steps and self.steps[-1]['do'] in ('center_crop', 'resize'):
            return self.steps[-1]['size']
        return None

    def metadata(self) -> dict[str, str]:
        """Entries for the metadata of a file, as JSON."""
        entries = dict(asdict(self), size=self.size)
        return {
            key: json.dumps(value)
            for key, value in entries.items()
            if key not in _OF_BANDS or value is not None
        }

    @property
    def order(self) -> str:
        """What the channels are."""
        if self.bands is None:
            return 'RGB'
        return f'{self.bands} bands, as in the files'

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> 'Preprocessing':
        """What :meth:`metadata` has written."""
        values = (
            metadata.get(key, 'null')
            for key in ('steps', 'mean', 'std', *_OF_BANDS)
        )
        return cls(*map(json.loads, values))

    def __call__(self, path: str | os.PathLike) -> np.ndarray:
        """Load a photo.

        Returns:
            np.ndarray: RGB, ``(3, H, W)`` uint8; all bands where there are
            some, in their order.

        Raises:
            ConfigError: If it cannot be read.
        """
        if self.bands is not None:
            load = LoadImage(bands=self.bands, value_range=self.value_range)
            loaded: Any = load(dict(img_path=os.fspath(path)))
            bands = np.moveaxis(loaded['img'], 2, 0)
            images = (self._resize(Image.fromarray(band)) for band in bands)
            return np.stack([np.asarray(image) for image in images])
        try:
            with Image.open(path) as file:
                image = ImageOps.exif_transpose(file).convert('RGB')
        except (OSError, Image.DecompressionBombError) as error:
            raise ConfigError(
                f'cannot read the image {path}: {error}'
            ) from error
        return np.asarray(self._resize(image)).transpose(2, 0, 1)

    def _resize(self, image: Image.Image) -> Image.Image:
        for step in self.steps:
            image = _apply(image, step)
        return image


def read_preprocessing(config: Config, model: BaseModel) -> Preprocessing:
    """That of the evaluation of a config.

    Raises:
        ConfigError: If its pipeline has a step that a script without the
            libraries could not do.
    """
    part = model.data_preprocessor
    normalizes = getattr(part, '_enable_normalize', False)
    mean, std = [0.0] * 3, [1.0] * 3
    if normalizes:
        mean, std = part.mean.flatten().tolist(), part.std.flatten().tolist()
    pipeline = _pipeline(config)
    bands, value_range = _bands(pipeline)
    if takes_flipped(model, bands is not None):
        # In the graph they are turned round, and here they go by RGB.
        mean, std = mean[::-1], std[::-1]
    steps = [step for raw in pipeline for step in _translate(raw)]
    return Preprocessing(steps, mean, std, bands, value_range)


def weights_metadata(config: Config) -> dict[str, str]:
    """What a file of weights says about the pixels that they want.

    Args:
        config (Config): Of :func:`student_config`.

    Returns:
        dict[str, str]: Entries as JSON, as :meth:`Preprocessing.metadata` has
        them. Where the evaluation has a step of its own, a ``note`` stands in
        the place of ``steps`` and ``size``.
    """
    part = config.model.data_preprocessor
    entries = {}
    pipeline = _pipeline(config)
    values = list(part.mean), list(part.std), *_bands(pipeline)
    found = Preprocessing([], *values)
    try:
        steps = [step for raw in pipeline for step in _translate(raw)]
    except ConfigError as error:
        entries = found.metadata()
        del entries['steps'], entries['size']
        entries['note'] = str(error)
    else:
        entries = Preprocessing(steps, *values).metadata()
    order = found.order
    if found.bands is None and not part.get('to_rgb', True):
        order = 'BGR'
    return dict(
        entries,
        layout='NCHW',
        channel_order=order,
        input_range='0 to 255; subtract the mean, divide by the deviation',
    )


def takes_flipped(model: BaseModel, has_bands: bool = False) -> bool:
    """Whether the network wants the channels the other way round.

    Args:
        model (BaseModel): It.
        has_bands (bool): Whether images are loaded in the order of their
            files, and not as BGR. Defaults to False.
    """
    part = model.data_preprocessor
    to_rgb = getattr(part, 'to_rgb', None)
    if to_rgb is None:
        to_rgb = getattr(part, '_channel_conversion', not has_bands)
    return to_rgb == has_bands


def _bands(
    pipeline: Sequence[Mapping[str, Any]],
) -> tuple[int | None, ValueRange]:
    first = pipeline[0] if pipeline else {}
    return first.get('bands'), first.get('value_range')


def _pipeline(config: Config) -> Sequence[Mapping[str, Any]]:
    if config.get('default_scope', 'mmpretrain') == 'mmpretrain':
        return inference_dataloader(config)['dataset']['pipeline']
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    return dataset.get('pipeline') or config.get('test_pipeline') or []


def _translate(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    kind = type_name(raw['type'])
    scale = raw.get('scale')
    how = dict(
        interpolation=raw.get('interpolation', 'bilinear'),
        antialias=_BACKENDS.get(raw.get('backend', 'cv2'), True),
    )
    if kind == 'ResizeEdge' and raw.get('edge', 'short') == 'short':
        return [dict(do='short_edge', size=scale, **how)]
    if kind == 'CenterCrop':
        return [dict(do='center_crop', size=_height_width(raw['crop_size']))]
    if kind == 'Resize' and scale is not None:
        # A pair is (width, height).
        do = 'fit' if raw.get('keep_ratio') else 'resize'
        return [dict(do=do, size=_height_width(scale)[::-1], **how)]
    if kind.startswith(_SILENT):
        return []
    raise ConfigError(
        f'the step {raw["type"]} of the test pipeline, with '
        f'{ {k: v for k, v in raw.items() if k != "type"} }, cannot be stored '
        'with an exported graph; give a config with `--config` whose pipeline '
        'has ResizeEdge (of the short edge), Resize with `scale`, and '
        'CenterCrop only'
    )


def _height_width(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


def _apply(image: Image.Image, step: Mapping[str, Any]) -> Image.Image:
    size = step['size']
    if step['do'] == 'center_crop':
        height, width = size
        top = round((image.height - height) / 2)
        left = round((image.width - width) / 2)
        return image.crop((left, top, left + width, top + height))
    width, height = image.size
    if step['do'] == 'resize':
        height, width = size
    else:
        factor = (
            size / min(width, height)
            if step['do'] == 'short_edge'
            else (
                min(
                    max(size) / max(width, height),
                    min(size) / min(width, height),
                )
            )
        )
        # As mmcv rounds, and mmpretrain cuts.
        up = 0.5 if step['do'] == 'fit' else 1e-9
        width, height = int(width * factor + up), int(height * factor + up)
    method = Image.Resampling[step['interpolation'].upper()]
    if step['antialias']:
        return image.resize((width, height), method)
    across, down = image.width / width, image.height / height
    return image.transform(
        (width, height),
        Image.Transform.AFFINE,
        (across, 0, 0, 0, down, 0),
        method,
    )
