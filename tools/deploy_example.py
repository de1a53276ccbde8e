"""Run an exported ONNX file on a photo, without mmhgkd and PyTorch.

    python tools/deploy_example.py model.onnx photo.jpg [result.png]

Copy from it what a program needs: everything that it has to know lies in the
file's metadata.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def load(path: str, steps: list[dict]) -> np.ndarray:
    """Load a photo as the model was evaluated: ``(1, 3, H, W)`` uint8."""
    image = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
    for step in steps:
        size, (width, height) = step['size'], image.size
        if step['do'] == 'center_crop':
            left = round((width - size[1]) / 2)
            top = round((height - size[0]) / 2)
            image = image.crop((left, top, left + size[1], top + size[0]))
            continue
        if step['do'] == 'resize':
            height, width = size
        elif step['do'] == 'short_edge':
            factor = size / min(width, height)
            width, height = int(width * factor), int(height * factor)
        else:  # fit
            long, short = max(size), min(size)
            factor = min(long / max(width, height), short / min(width, height))
            width = int(width * factor + 0.5)
            height = int(height * factor + 0.5)
        method = Image.Resampling[step['interpolation'].upper()]
        if step['antialias']:
            image = image.resize((width, height), method)
            continue
        # As OpenCV, which takes single pixels where an image becomes smaller.
        across, down = image.width / width, image.height / height
        affine = (across, 0, 0, 0, down, 0)
        kind = Image.Transform.AFFINE
        image = image.transform((width, height), kind, affine, method)
    return np.asarray(image).transpose(2, 0, 1)[None]


def paste(
    grid: np.ndarray, box: np.ndarray, shape: tuple[int, int], threshold: float
) -> np.ndarray:
    """Mask of the image, ``(H, W)`` bool, of the grid over a box."""
    left, top, right, bottom = box
    rows, columns = grid.shape
    across = (right - left) / columns, (bottom - top) / rows
    # Of each pixel of the image, its place in the grid.
    affine = (
        1 / across[0],
        0,
        -left / across[0],
        0,
        1 / across[1],
        -top / across[1],
    )
    image = Image.fromarray(grid).transform(
        shape[::-1], Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )
    return np.asarray(image) >= threshold


def main(argv: list[str]) -> None:
    """Run the file ``argv[0]`` on the photo ``argv[1]``."""
    session = onnxruntime.InferenceSession(argv[0])
    about = session.get_modelmeta().custom_metadata_map
    if 'bands' in about:
        raise SystemExit(
            f'{argv[0]} takes {about["channel_order"]}; read them with a '
            'library for such images, and do the `steps` for each band'
        )
    images = load(argv[1], json.loads(about['steps']))
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {'images': images})
    found = {name: value[0] for name, value in zip(names, values, strict=True)}
    classes = json.loads(about['classes'])

    def name_of(label: int) -> str:
        return classes[label] if classes else f'class {label}'

    if about['task'] == 'classification':
        scores = np.exp(found['logits'] - found['logits'].max())
        scores /= scores.sum()
        for label in scores.argsort()[::-1][:3]:
            print(f'{name_of(label)}: {100 * scores[label]:.1f} %')
    elif about['task'] == 'segmentation':
        for label, count in zip(
            *np.unique(found['labels'], return_counts=True), strict=True
        ):
            share = count / found['labels'].size
            print(f'{name_of(label)}: {100 * share:.1f} % of the pixels')
        if len(argv) > 2:
            Image.fromarray(found['labels'].astype(np.uint8)).save(argv[2])
    elif about['task'] == 'detection':
        seen = found['scores'] >= 0.3
        pixels = np.zeros(images.shape[2:], np.uint8)
        for index in np.flatnonzero(seen):
            box = found['boxes'][index]
            print(
                f'{name_of(found["labels"][index])}: '
                f'{100 * found["scores"][index]:.1f} %, corners '
                f'{np.round(box, 1).tolist()}'
            )
            if 'masks' in found:
                limit = float(about['mask_threshold'])
                mask = paste(found['masks'][index], box, pixels.shape, limit)
                pixels[mask] = index + 1
        print(f'{seen.sum()} boxes in {images.shape[3]}x{images.shape[2]} px')
        if len(argv) > 2 and 'masks' in found:
            Image.fromarray(pixels).save(argv[2])
    else:
        print('embedding:', np.round(found['embedding'], 4).tolist())


if __name__ == '__main__':
    main(sys.argv[1:])
