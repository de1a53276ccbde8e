from .image_folder import ImageFolder, ProbeImages
from .load_image import LoadImage

__all__ = ['ImageFolder', 'LoadImage', 'ProbeImages']
