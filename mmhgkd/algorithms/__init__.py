from .bands_data_preprocessor import BandsDataPreprocessor
from .hgkd import HGKD
from .mixup_data_preprocessor import MixupDataPreprocessor

__all__ = ['HGKD', 'BandsDataPreprocessor', 'MixupDataPreprocessor']
