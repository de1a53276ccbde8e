import io
from contextlib import redirect_stdout

# It prints that a package of its makers is not there.
with redirect_stdout(io.StringIO()):
    import mmpretrain.datasets  # noqa: F401

from .image_folder import ImageFolder, ProbeImages
from .load_image import LoadImage
from .resized_crop import RandomResizedCrop

__all__ = ['ImageFolder', 'LoadImage', 'ProbeImages', 'RandomResizedCrop']
