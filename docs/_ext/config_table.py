"""Tables of the configs, made from the configs themselves."""

from pathlib import Path

from docutils import nodes
from mmengine.config import Config
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SMALL = ('scenes', 'folder', 'quickstart', 'mini', 'camvid')
NOT_RUN = 'not yet run at full scale'
TRY = 'for small data; no reference figure'
ARCHS = {'b': 'B', 'base': 'B', 'l': 'L', 'deit-tiny': 'Ti', 'deit-small': 'S'}


class ConfigTable(SphinxDirective):
    """A table of the configs in the folder that the argument names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the table as Markdown, and parse it."""
        folder = self.arguments[0]
        paths = sorted((CONFIGS / folder).glob('*.py'))
        if not paths:
            raise self.error(f'no config lies in configs/{folder}')
        for path in paths:
            self.env.note_dependency(str(path))
        rows = [describe(path) for path in paths]
        header = list(rows[0])
        lines = [header, ['---'] * len(header), *(r.values() for r in rows)]
        text = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
        return self.parse_text_to_nodes(text)


def describe(path: Path) -> dict[str, str]:
    """One row: what a config trains or tests, by column."""
    config = Config.fromfile(path)
    row = {'config': f'`{path.relative_to(CONFIGS)}`'}
    model = config.model
    if model.type == 'mmhgkd.HGKD':
        row['teacher'] = teacher_name(model.teacher)
        row['student'] = network_name(model.backbone)
    elif model.type == 'MAE':
        row['network'] = transformer_name(model.backbone)
    else:
        if model.type != 'ImageClassifier':
            row['task model'] = model.type
        row['backbone'] = network_name(model.backbone)
        row['starts from'] = start(config)
    row['length'] = length(config)
    row['batch of a GPU'] = str(
        (config.get('train_dataloader') or {}).get('batch_size', '-')
    )
    row['result'] = (
        TRY if any(word in path.stem for word in SMALL) else NOT_RUN
    )
    return row


def teacher_name(teacher: Config) -> str:
    """Such as 'MAE ViT-B/16'."""
    if teacher.type == 'mmhgkd.PixelTeacher':
        return 'none (pixels)'
    if teacher.type == 'mmhgkd.TimmTeacher':
        return f'{teacher.model_name} of timm'
    return transformer_name(teacher.backbone)


def transformer_name(backbone: Config) -> str:
    """Such as 'MAE ViT-B/16'."""
    family = 'BEiT' if backbone.type.startswith('BEiT') else 'MAE ViT'
    if isinstance(backbone.arch, str):
        size = ARCHS.get(backbone.arch, backbone.arch)
        return f'{family}-{size}/{backbone.patch_size}'
    return (
        f'{family}, {backbone.arch.num_layers} blocks of width '
        f'{backbone.arch.embed_dims}'
    )


def network_name(backbone: Config) -> str:
    """Such as 'ResNet-50'."""
    if 'network' in backbone:
        network = backbone.network
        if 'model_name' in network:
            return f'{network.model_name} of timm'
        library, _, kind = network.type.partition('.')
        return f'{kind} of {library}'
    name = backbone.type.split('.')[-1].removeprefix('Sparse')
    size = backbone.get('depth', backbone.get('arch'))
    width = backbone.get('base_channels')
    return (
        name
        + (f'-{size}' if size else '')
        + (f', {width} channels' if width else '')
    )


def start(config: Config) -> str:
    """Where the weights of a backbone come from."""
    if not config.get('train_cfg'):
        return 'the checkpoint tested'
    init = config.model.backbone.get('init_cfg') or {}
    checkpoint = init.get('checkpoint') if isinstance(init, dict) else None
    if checkpoint is None:
        return 'random'
    return 'labels' if '://' in checkpoint else 'the student'


def length(config: Config) -> str:
    """Epochs or iterations of a training."""
    loop = config.get('train_cfg')
    if not loop:
        return 'no training'
    if loop.get('max_epochs'):
        return f'{loop.max_epochs}\N{NO-BREAK SPACE}epochs'
    return f'{loop.max_iters:,}\N{NO-BREAK SPACE}iterations'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive('config-table', ConfigTable)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
