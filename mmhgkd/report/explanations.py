"""What the figures of a report are, and which direction is good."""

import re

_LESS, _MORE = 'Less is better.', 'More is better.'
#: By a pattern that the end of a key fits; the first one counts.
_CURVES = {
    r'loss': f'The sum of all losses, which the training reduces. {_LESS}',
    r'loss_feat': "The student's tokens against the teacher's: how far its "
    f'features are off. {_LESS}',
    r'loss_direct\S*': "The student's last stages against the teacher's "
    f'tokens: how far its features are off. {_LESS}',
    r'loss_sim': 'Similarities to other images, by the student and by the '
    f'teacher: how far they differ. {_LESS}',
    r'loss\S*': f'A part of the loss. {_LESS}',
    r'pearson': 'Correlation of the similarities by student and teacher; 1 is '
    f'perfect. {_MORE}',
    r'embedding_cosine': "Cosine of the student's and the teacher's embedding "
    f'of an image; 1 is perfect. {_MORE}',
    r'self_variance_share': 'Share of the variance of the similarities that '
    'an image has by its own entry. Near 1 the others teach nothing.',
    r'(.*/)?lr': 'The learning rate, as it was set. No direction is good.',
    r'(.*/)?momentum|weight_decay': 'As it was set. No direction is good.',
    r'grad_norm': 'Size of a step before it is clipped. Steady is good; '
    'leaps mean a rate that is too high.',
    r'gradient_cosine': 'Angle between the gradients of the two losses: 1 '
    'agree, 0 do not care, -1 oppose each other.',
    r'gradient_\S+': 'Size of the gradient of one loss; that of the larger '
    'one rules.',
    r'knn\S*': 'Percent of images whose nearest neighbors, by features that '
    f'saw no label, tell their class. {_MORE}',
    r'linear\S*': 'Percent of images that a linear classifier on the frozen '
    f'features gets right. {_MORE}',
    r'(.*/)?(top1|top5|accuracy|acc|\S*precision|\S*recall|\S*f1\S*)': (
        f'Percent that is right. {_MORE}'
    ),
    r'(.*/)?(\S*mAP\S*|\S*AP\d*)': f'Average precision of the boxes. {_MORE}',
    r'(.*/)?(mIoU|aAcc|mAcc|mDice)': f'Percent of the area right. {_MORE}',
}
_PICTURES = {
    r'panel(_(?P<epoch>\d+))?\.\w+': 'Photos, what the student sees of them, '
    'features of teacher and student, and the error. Equal color means equal '
    "feature: the nearer the student's colors are to the teacher's, and the "
    'darker the error, the better.',
    r'students\.\w+': 'Features of several students of the same photos. '
    'Within a column, equal color means equal feature: good features give '
    'alike parts one color, and others another.',
    r'epochs\.\w+': 'The same photos after more and more epochs. The colors '
    "of the student should come near to the teacher's.",
    r'intensities\S*\.\w+': 'Distribution of the activations. That of sparse '
    'convolution should lie on that of the full images.',
    r'curves\S*\.\w+': 'Curves that were drawn of this run.',
}


def explain_curve(key: str) -> str:
    """A sentence or two about a logged value."""
    for pattern, text in _CURVES.items():
        if re.fullmatch(pattern, key):
            return text
    return 'A value that the run has logged.'


def explain_picture(name: str) -> str:
    """A sentence or two about a picture, by the name of its file."""
    for pattern, text in _PICTURES.items():
        found = re.fullmatch(pattern, name)
        if found:
            epoch = found.groupdict().get('epoch')
            return f'After epoch {epoch}. {text}' if epoch else text
    return 'A picture that lies in the folder of the run.'
