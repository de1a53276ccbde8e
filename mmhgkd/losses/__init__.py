from .centering import center_embeddings
from .direct_imitation_loss import DirectImitationLoss
from .distillation_head import DistillationHead
from .embedding_queue import EmbeddingQueue
from .feature_imitation_loss import FeatureImitationLoss
from .pearson import pearson_correlation
from .similarity_distribution_loss import SimilarityDistributionLoss
from .student_embedding import StudentEmbedding

__all__ = [
    'DirectImitationLoss',
    'DistillationHead',
    'EmbeddingQueue',
    'FeatureImitationLoss',
    'SimilarityDistributionLoss',
    'StudentEmbedding',
    'center_embeddings',
    'pearson_correlation',
]
