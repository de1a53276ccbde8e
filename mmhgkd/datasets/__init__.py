from .image_folder import ImageFolder
from .load_image import LoadImage
from .probe_images import ProbeImages

__all__ = ['ImageFolder', 'LoadImage', 'ProbeImages']
