"""Arms and metrics of the studies in words, for pictures."""

#: Arms by name. What an arm changes is in the file of its study.
ARMS = {
    'scratch': 'no pre-training at all',
    'pixels': 'pixels instead of a teacher (SparK)',
    'soft_labels': 'with the labels of all photos',
    'feat': 'features alone',
    'sim': 'similarities alone',
    'feat_sim': 'features and similarities',
    'zero_filled': 'plain convolution, holes are zeros',
    'mask_0.4': '5 of 9 parts visible',
    'mask_0.65': '3 of 9 parts visible',
    'mask_0.75': '2 of 9 parts visible',
    'target_batch_norm': 'targets standardized by channel',
    'teacher_visible': 'the teacher sees visible parts only',
    'region_masked': 'hidden parts count only',
    'region_visible': 'visible parts count only',
    'weight_0.03': 'similarities, weight 0.03',
    'weight_0.1': 'similarities, weight 0.1',
    'weight_0.3': 'similarities, weight 0.3',
    'weight_3.0': 'similarities, weight 3',
    'encoder_linear': 'similarities from the encoder',
    'encoder_mlp': 'from the encoder, through an MLP',
    'encoder_weight_0.1': 'from the encoder, weight 0.1',
    'encoder_weight_3.0': 'from the encoder, weight 3',
    'tokens': 'similarities of tokens, not of photos',
    'center_mean': 'similarities, mean taken away',
    'center_whiten': 'similarities, whitened',
    'temperature_0.1': 'temperature 0.1',
    'temperature_1.0': 'temperature 1',
    'temperature_raw': 'cosines, no temperature',
    'no_self': 'without the photo itself as a key',
    'intra': 'correlation over the batch, too (DIST)',
    'kl': 'Kullback-Leibler divergence',
    'ce': 'cross-entropy (SEED)',
    'queue_256': 'memory of 256 photos',
    'queue_2048': 'memory of 2,048 photos',
    'queue_8192': 'memory of 8,192 photos',
    'encoder_mean': 'from the encoder, mean taken away',
    'encoder_whiten': 'from the encoder, whitened',
    'encoder_linear_sim': 'from the encoder, no features',
    'batch_norm_encoder_linear': 'from the encoder, targets by channel',
    'region_visible_encoder_linear': 'from the encoder, visible parts count',
}
HEADINGS = {
    'kNN': 'nearest neighbors (kNN)',
    'linear': 'linear probe',
    'fine-tune': 'fine-tuned, all labels',
    '10 % labels': 'fine-tuned, 10 % of the labels',
}
BAND = (
    'Each dot is one change. In the gray band it may be chance: two equal '
    'ways differ by less in 19 of 20 comparisons. Blue is better than that, '
    'orange is worse.'
)
