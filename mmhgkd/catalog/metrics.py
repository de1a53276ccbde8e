"""Plain names of what a student is measured by."""

HIGHER = '% (higher is better)'
#: A short and a plain name, by the key in ``results.json``.
METRICS = {
    'knn': ('kNN', f'right class by the nearest photos (kNN), {HIGHER}'),
    'linear': (
        'linear',
        f'right class by a simple classifier (linear probe), {HIGHER}',
    ),
    'neighbors': ('neighbors', f"teacher's nearest photos found, {HIGHER}"),
}
#: What a row of the comparison is.
ROWS = {
    'chance': 'what guessing gives',
    'untrained': 'the student before',
    'start weights': 'the student before',
    'pixels': 'the same student, trained on pixels (SparK)',
    'distilled': 'your student',
    'teacher': 'the network that it learned from',
    'supervised': 'the same student, trained on the labels',
}
