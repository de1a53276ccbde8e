from .image_folder import ImageFolder, ProbeImages
from .load_image import LoadImage
from .resized_crop import RandomResizedCrop

__all__ = ['ImageFolder', 'LoadImage', 'ProbeImages', 'RandomResizedCrop']
