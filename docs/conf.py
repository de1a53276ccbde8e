"""Settings of Sphinx. Build: ``sphinx-build -W docs build/docs``."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'docs' / '_ext')]

project = 'mmhgkd'
author = copyright = 'the mmhgkd contributors'
version = release = runpy.run_path(str(ROOT / 'mmhgkd' / 'version.py'))[
    '__version__'
]

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'config_table',
    'mathml',
]
exclude_patterns = ['_ext']

html_theme = 'furo'
html_title = f'mmhgkd {version}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_js_files = ['copy.js', 'pictures.js']
html_copy_source = False
html_math_renderer = 'mathml'

myst_enable_extensions = ['dollarmath']
# Pages link to headings as they would on a code host.
myst_heading_anchors = 4

# The notebook is stored without output and is run by the build.
nb_execution_mode = 'force'
nb_execution_timeout = 300
nb_execution_raise_on_error = True

# The docstrings say the types.
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
autodoc_default_options = {
    'members': True,
    'imported-members': True,
    'show-inheritance': True,
}
