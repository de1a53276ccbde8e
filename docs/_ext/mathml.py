"""Formulas as MathML, which browsers draw without a script or a network."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def visit_math(
    translator: HTML5Translator, node: nodes.math | nodes.math_block
) -> None:
    """Write a formula."""
    text = node.astext().strip()
    try:
        formula = tex2mathml(text, as_block=isinstance(node, nodes.math_block))
    except MathError as error:
        logger.warning('formula %r: %s', text, error, location=node)
    else:
        translator.body.append(formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer(
        'mathml',
        inline_renderers=(visit_math, None),
        block_renderers=(visit_math, None),
    )
    return dict(parallel_read_safe=True, parallel_write_safe=True)
