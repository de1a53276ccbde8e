"""The notebook of the tutorial runs."""

import json
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / 'docs' / 'notebook.ipynb'


def test_notebook_runs_and_has_the_outputs_it_speaks_of() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name='python3')
    client.execute(cwd=str(NOTEBOOK.parent))
    outputs = [
        output
        for cell in notebook.cells
        if cell.cell_type == 'code'
        for output in cell.outputs
    ]
    text = json.dumps(outputs)
    assert 'linear/top1: ' in text
    # the row of pictures and the panel
    assert (
        sum('image/png' in output.get('data', {}) for output in outputs) == 2
    )
    assert '(3, 256, 3, 3)' in text


def test_notebook_is_stored_without_output() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']
    assert not any(cell.get('outputs') for cell in cells)
