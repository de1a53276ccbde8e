"""Metrics of the studies in words, for pictures."""

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
