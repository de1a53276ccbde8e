import os
from pathlib import Path
from typing import NamedTuple

from mmhgkd.utils import ConfigError

from .names import suggest

NON_COMMERCIAL = ('CC BY-NC 4.0', 'FAIR Noncommercial Research License')
WEIGHTS = 'model.safetensors'
SHIPPED = 'shipped'  #: the small teacher of this project


class TeacherEntry(NamedTuple):
    """A Transformer of timm that learned without labels."""

    name: str  #: in timm, with the tag of its pre-training
    method: str
    licence: str  #: of the weights
    patch_size: int  #: side of a token in pixels
    width: int  #: channels of a token
    millions: float  #: parameters

    @property
    def non_commercial(self) -> bool:
        """Whether the weights, and maybe the student, are not for business."""
        return self.licence in NON_COMMERCIAL

    @property
    def one_size(self) -> bool:
        """Whether its network is built for images of one size."""
        return self.name.startswith('hiera')

    @property
    def repository(self) -> str:
        """Where timm's loader fetches the weights from."""
        return f'timm/{self.name}'

    @property
    def url(self) -> str:
        """Address of the file with the weights."""
        endpoint = os.environ.get('HF_ENDPOINT', 'https://huggingface.co')
        return f'{endpoint}/{self.repository}/resolve/main/{WEIGHTS}'


_METHODS = {
    'DINOv3': ('DINOv3 License', 16, 'vit_{}_patch16_dinov3.lvd1689m'),
    'DINOv2': ('Apache-2.0', 14, 'vit_{}_patch14_dinov2.lvd142m'),
    'DINOv2 with registers': (
        'Apache-2.0',
        14,
        'vit_{}_patch14_reg4_dinov2.lvd142m',
    ),
    'DINO': ('Apache-2.0', 16, 'vit_{}_patch16_224.dino'),
    'MAE': ('CC BY-NC 4.0', 16, 'vit_{}_patch16_224.mae'),
    'MAE (Hiera)': ('CC BY-NC 4.0', 16, 'hiera_{}_224.mae'),
}
# Width and millions of parameters.
_SIZES = {
    'DINOv3': {
        'small': (384, 21.6),
        'small_plus': (384, 28.7),
        'base': (768, 85.6),
        'large': (1024, 303.1),
    },
    'DINOv2': {
        'small': (384, 22.1),
        'base': (768, 86.6),
        'large': (1024, 304.4),
    },
    'DINOv2 with registers': {
        'small': (384, 22.1),
        'base': (768, 86.6),
        'large': (1024, 304.4),
    },
    'DINO': {'small': (384, 21.7), 'base': (768, 85.8)},
    'MAE': {'base': (768, 85.8), 'large': (1024, 303.3)},
    # The width of the stage of 16 px.
    'MAE (Hiera)': {
        'tiny': (384, 27.1),
        'small': (384, 34.2),
        'base': (384, 50.8),
        'base_plus': (448, 69.0),
        'large': (576, 212.6),
    },
}

TEACHERS: dict[str, TeacherEntry] = {
    pattern.format(size): TeacherEntry(
        pattern.format(size), method, licence, patch, *numbers
    )
    for method, (licence, patch, pattern) in _METHODS.items()
    for size, numbers in _SIZES[method].items()
}
"""Teachers by name. All learned without labels.

timm's BEiT is fine-tuned with labels, so it is not among them, nor is what
was taught by captions (CLIP, SigLIP, EVA). timm has I-JEPA only as training
states of 10 GB. Such a teacher is given by its file.
"""

#: What ``auto`` takes of several in the cache: the smaller ones first, since
#: a small student gains little from a large teacher, which costs more, and
#: those that are free for any use before the others.
AUTO_ORDER = tuple(
    sorted(
        TEACHERS,
        key=lambda name: (
            TEACHERS[name].non_commercial,
            round(TEACHERS[name].millions, -1),
        ),
    )
)


def find_teacher(name: str) -> TeacherEntry:
    """The teacher of a name; the tag of its pre-training may be left out.

    Raises:
        ConfigError: If there is no such teacher.
    """
    if name in TEACHERS:
        return TEACHERS[name]
    same = [e for n, e in TEACHERS.items() if n.split('.')[0] == name]
    if len(same) == 1:
        return same[0]
    raise ConfigError(
        f'the teacher {name!r} is neither a file nor one of those by name'
        f'{suggest(name, TEACHERS)}; `mmhgkd teachers` lists them'
    )


def cached_teacher(entry: TeacherEntry) -> Path | None:
    """The weights of a teacher on this machine, None where there are none.

    They are looked for where timm's loader puts them, and where a person may
    put them, see :func:`place_for`.
    """
    from huggingface_hub import try_to_load_from_cache

    place = place_for(entry)
    if place.is_file():
        return place
    found = try_to_load_from_cache(entry.repository, WEIGHTS)
    return Path(found) if isinstance(found, str) else None


def place_for(entry: TeacherEntry) -> Path:
    """Where to put the weights of a teacher by hand."""
    # As torch.hub.get_dir(), without importing PyTorch.
    cache = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    home = os.environ.get('TORCH_HOME', f'{cache}/torch')
    folder = Path(home).expanduser() / 'hub' / 'checkpoints'
    return folder / f'{entry.name}.safetensors'


def fetch_teacher(entry: TeacherEntry) -> Path:
    """The weights of a teacher, downloaded where they are not there yet.

    timm's loader fetches the same file to the same place.

    Raises:
        ConfigError: If they cannot be downloaded; it names the file, and
            where to put it.
    """
    found = cached_teacher(entry)
    if found is not None:
        return found
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(entry.repository, WEIGHTS))
    except Exception as error:  # no network, no such host, a proxy, no space
        reason = ' '.join(str(error).split())[:120]
        raise ConfigError(
            f'the teacher {entry.name} cannot be downloaded '
            f'({type(error).__name__}: {reason}); download {entry.url} on '
            f'another machine and put it to {place_for(entry)}'
        ) from error
