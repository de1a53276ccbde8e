"""The compiled operators of MMCV on torchvision, for detection.

MMDetection needs ``mmcv._ext``, which takes a compiler and, without a matching
wheel, half an hour to build. torchvision carries the same operators compiled,
so where ``mmcv._ext`` is missing, and only there, ``extension.py`` takes its
place.

Provided, with the results of MMCV's own operators: ``nms``, ``softnms``,
``nms_match``, ``roi_align`` (average pooling), deformable convolution v1 and
v2, the sigmoid and the softmax focal loss, and multi-scale deformable
attention. Limits:

- Devices are those that torchvision has operators for: CPU and CUDA.
- fp16 and bf16 are computed in fp32 and rounded once.
- ``soft_nms`` and ``nms_match`` are Python loops over the boxes, on the CPU as
  in MMCV. Of boxes with equal scores the first one comes first; MMCV's order
  depends on its swaps.
- Deformable convolution v1 does its backward pass twice, once for its input
  and once for its weight.
- Deformable convolution v2 has a gradient of offsets at and below -1, where
  MMCV has none.
- The sigmoid focal loss uses exact logarithms where MMCV stops at the smallest
  float, beyond logits of 87; a class weight does not apply to background.

Every other operator can be imported, so MMDetection can, and raises
:class:`MissingOperatorError` when it is called.
"""

from .provider import MissingOperatorError, install_operators

__all__ = ['MissingOperatorError', 'install_operators']
