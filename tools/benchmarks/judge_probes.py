"""Data of the judge of backbones, and what it asks of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mmhgkd.datasets import ImageFolder
from mmhgkd.utils import ConfigError

UNLABELLED = (0, 255)

Array = NDArray[Any]
Row = dict[str, float]


def fit(pixels: Array, size: int, interpolation: int) -> Array:
    """Resize the short side to ``size`` and crop the center.

    Args:
        pixels (np.ndarray): ``(H, W)`` or ``(H, W, 3)`` uint8.
        size (int): Side in pixels.
        interpolation (int): OpenCV's flag.

    Returns:
        np.ndarray: ``(size, size)`` or ``(size, size, 3)``.
    """
    scale = size / min(pixels.shape[:2])
    height, width = (max(size, round(scale * x)) for x in pixels.shape[:2])
    pixels = cv2.resize(pixels, (width, height), interpolation=interpolation)
    top, left = (height - size) // 2, (width - size) // 2
    return pixels[top : top + size, left : left + size]


def read_images(files: Sequence[str], size: int) -> Array:
    """Read files as ``(N, size, size, 3)`` RGB.

    Raises:
        ConfigError: If a file is no image.
    """
    images = []
    for file in files:
        image = cv2.imread(file, cv2.IMREAD_COLOR)
        if image is None:
            raise ConfigError(f'{file}: cannot be read as an image; remove it')
        images.append(fit(image, size, cv2.INTER_AREA)[..., ::-1])
    return np.stack(images)


@torch.no_grad()
def extract(
    student: BaseModel, images: Array, batch_size: int, dense: bool = False
) -> Array:
    """Compute frozen features of whole images.

    Args:
        student (BaseModel): Its ``data_preprocessor`` normalizes images, its
            ``backbone`` returns the maps of stages.
        images (np.ndarray): ``(N, H, W, 3)`` uint8 RGB.
        batch_size (int): Images computed at a time.
        dense (bool): Whether to keep the positions. Defaults to False.

    Returns:
        np.ndarray: Means of the last map, ``(N, C)`` float32, or with
        ``dense`` the last two maps side by side, ``(N, h, w, C)``.

    Raises:
        ConfigError: If the backbone returns one map only, or features that
            are not finite.
    """
    network = student.backbone
    if hasattr(network, 'res_layers'):
        last = len(network.res_layers) - 1
        network.out_indices = (last - 1, last)
    student.train(False)
    parts = []
    for begin in range(0, len(images), batch_size):
        pixels = torch.from_numpy(images[begin : begin + batch_size].copy())
        # As the network was trained; preprocessors expect OpenCV's order.
        inputs = dict(inputs=pixels.permute(0, 3, 1, 2).flip(1))
        maps = network(student.data_preprocessor(inputs)['inputs'])
        if not dense:
            parts.append(maps[-1].mean((2, 3)))
            continue
        if len(maps) < 2:
            raise ConfigError(
                'the dense task needs the last two maps, but '
                f'{type(network).__name__} returns one; set its `out_indices`'
            )
        resized = F.interpolate(
            maps[-1],
            maps[-2].shape[2:],
            mode='bilinear',
            align_corners=False,
        )
        both = torch.cat([maps[-2], resized], dim=1)
        parts.append(both.permute(0, 2, 3, 1))
    features = torch.cat(parts)
    if not features.isfinite().all():
        raise ConfigError('features hold NaN or infinity: it has diverged')
    return features.numpy()


def logistic_regression() -> Pipeline:
    """The linear classifier of all tasks."""
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)
    )


def classify(
    task: str, train: Array, labels: Array, test: Array, truth: Array
) -> Row:
    """Accuracy on embeddings in percent.

    Args:
        task (str): 'knn' (20 neighbors by cosine, a vote each), 'linear', or
            'few' (linear on a tenth of each class, mean of three draws).
        train (np.ndarray): Embeddings to learn from, ``(N, C)``.
        labels (np.ndarray): Their classes, ``(N, )``.
        test (np.ndarray): Embeddings to classify, ``(M, C)``.
        truth (np.ndarray): Their classes, ``(M, )``.

    Returns:
        dict[str, float]: The accuracy by the name of the task, and
        ``few_std`` over the draws.

    Raises:
        ConfigError: If a tenth of the photos does not hold each class.
    """
    train, test = train.astype(np.float64), test.astype(np.float64)
    if task != 'few':
        model = (
            logistic_regression()
            if task == 'linear'
            else KNeighborsClassifier(
                min(20, len(train)), metric='cosine', algorithm='brute'
            )
        )
        return {task: 100 * model.fit(train, labels).score(test, truth)}
    scores = []
    for seed in range(3):
        try:
            some, _, own, _ = train_test_split(
                train,
                labels,
                train_size=0.1,
                stratify=labels,
                random_state=seed,
            )
        except ValueError as error:
            raise ConfigError(
                f'the task few needs more photos in --data: {error}'
            ) from error
        model = logistic_regression().fit(some, own)
        scores.append(100 * model.score(test, truth))
    return dict(few=float(np.mean(scores)), few_std=float(np.std(scores)))


def position_labels(labels: Array, rows: int, columns: int) -> Array:
    """Most frequent class of the pixels below each position.

    Args:
        labels (np.ndarray): ``(N, H, W)`` uint8.
        rows (int): Height of the map.
        columns (int): Width of the map.

    Returns:
        np.ndarray: ``(N, rows, columns)``; 0 where no pixel has a label.
    """
    classes = [x for x in np.unique(labels) if x not in UNLABELLED]
    shares = [
        F.adaptive_avg_pool2d(
            torch.from_numpy(labels == x).float(), (rows, columns)
        )
        for x in classes
    ]
    most, index = torch.stack(shares).max(0)
    return np.where(most > 0, np.asarray(classes)[index], 0)


def mean_iou(predicted: Array, truth: Array) -> float:
    """Mean IoU in percent over the classes that ``truth`` holds.

    The same classes count for every backbone, whatever it predicts.
    """
    known = ~np.isin(truth, UNLABELLED)
    predicted, truth = predicted[known], truth[known]
    values = []
    for x in np.unique(truth):
        hits = np.sum((predicted == x) & (truth == x))
        values.append(hits / np.sum((predicted == x) | (truth == x)))
    return 100 * float(np.mean(values))


def segment(
    train: Array, labels: Array, test: Array, truth: Array, positions: int
) -> Row:
    """Linear segmentation: one logistic regression for all positions.

    Args:
        train (np.ndarray): Features to learn from, ``(N, h, w, C)``.
        labels (np.ndarray): Classes of their pixels, ``(N, H, W)``.
        test (np.ndarray): Features to segment, ``(M, h, w, C)``.
        truth (np.ndarray): Classes of their pixels, ``(M, H, W)``.
        positions (int): Positions to learn from, at most.

    Returns:
        dict[str, float]: ``dense``, the mIoU of the pixels; scores of the
        positions are resized bilinearly.
    """
    wanted = position_labels(labels, *train.shape[1:3]).reshape(-1)
    known = np.flatnonzero(wanted)
    if len(known) > positions:
        known = np.random.default_rng(0).choice(known, positions, False)
    model = logistic_regression().fit(
        train.reshape(-1, train.shape[-1])[known].astype(np.float64),
        wanted[known],
    )
    predicted = []
    for features in test:
        scores = model.predict_log_proba(
            features.reshape(-1, features.shape[-1]).astype(np.float64)
        )
        grid = torch.from_numpy(scores).view(*features.shape[:2], -1)
        pixels = F.interpolate(
            grid.permute(2, 0, 1)[None],
            truth.shape[1:],
            mode='bilinear',
            align_corners=False,
        )
        predicted.append(model.classes_[pixels[0].argmax(0).numpy()])
    return dict(dense=mean_iou(np.stack(predicted), truth))


def read_photos(folders: Sequence[str]) -> tuple[list[str], Array]:
    """Files and names of classes of labelled folders."""
    files, names = [], []
    for folder in folders:
        data = ImageFolder(folder, with_label=True)
        for index in range(len(data)):
            info = data.get_data_info(index)
            files.append(info['img_path'])
            names.append(data.CLASSES[info['gt_label']])
    return files, np.array(names)


def read_segmentation(
    folder: str, split: str, size: int
) -> tuple[Array, Array]:
    """Images ``(N, size, size, 3)`` and labels ``(N, size, size)``.

    Raises:
        ConfigError: If images or annotations are missing or no label maps.
    """
    root = Path(folder)
    files = sorted((root / 'images' / split).glob('*.*'))
    if not files:
        raise ConfigError(f'no image lies in {root / "images" / split}')
    labels = []
    for file in files:
        path = root / 'annotations' / split / f'{file.stem}.png'
        if not path.is_file():
            raise ConfigError(f'{path}: no such file, the labels of {file}')
        # OpenCV turns a palette into colors.
        label = np.asarray(Image.open(path))
        if label.ndim != 2 or label.dtype != np.uint8:
            raise ConfigError(f'{path}: must hold one byte a pixel')
        labels.append(fit(label, size, cv2.INTER_NEAREST_EXACT))
    return read_images([str(file) for file in files], size), np.stack(labels)
