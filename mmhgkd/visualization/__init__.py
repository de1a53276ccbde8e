from .feature_panel import feature_panel, save_panel
from .token_pca import TokenPCA

__all__ = ['TokenPCA', 'feature_panel', 'save_panel']
