from .animation import save_animation
from .comparison import compare_runs, describe_change, to_csv, to_markdown
from .complexity import Complexity, backbone_complexity, model_complexity
from .curves import curve_keys, draw_curves, run_labels
from .html_report import html_report
from .run_record import RunRecord

__all__ = [
    'Complexity',
    'RunRecord',
    'backbone_complexity',
    'compare_runs',
    'curve_keys',
    'describe_change',
    'draw_curves',
    'html_report',
    'model_complexity',
    'run_labels',
    'save_animation',
    'to_csv',
    'to_markdown',
]
