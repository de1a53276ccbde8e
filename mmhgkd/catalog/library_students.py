"""Networks of other libraries that become students.

The lists name those that are known to have a sparse form; others are tried,
and refused with the layers that have none.
"""

import re
from typing import Any


def _words(text: str) -> list[str]:
    return text.split()


TIMM = _words("""
convnext_atto convnext_base convnext_femto convnext_large
convnext_large_mlp convnext_nano convnext_pico convnext_small convnext_tiny
convnext_tiny_hnf convnextv2_atto convnextv2_base convnextv2_femto
convnextv2_large convnextv2_nano convnextv2_pico convnextv2_small
convnextv2_tiny cspnext_l cspnext_m cspnext_s cspnext_tiny cspnext_x
darknet17 darknet53 darknetaa53 densenet121 densenet161 densenet169
densenet201 densenet264d dla34 dla46_c dla46x_c dla60 dla60x dla60x_c
dla102 dla102x dla102x2 dla169 efficientnet_b0 efficientnet_b1
efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5
efficientnet_b6 efficientnet_el efficientnet_em efficientnet_es
efficientnet_lite0 efficientnet_lite1 efficientnet_lite2 efficientnet_lite3
efficientnet_lite4 efficientnetv2_l efficientnetv2_m efficientnetv2_rw_m
efficientnetv2_rw_s efficientnetv2_rw_t efficientnetv2_s fbnetc_100
fbnetv3_b fbnetv3_d fbnetv3_g gernet_l gernet_m gernet_s hardcorenas_a
hgnet_small hgnet_tiny lcnet_035 lcnet_050 lcnet_075 lcnet_100 lcnet_150
lcnetv2_base lcnetv2_large lcnetv2_small mnasnet_050 mnasnet_075
mnasnet_100 mnasnet_140 mnasnet_small mobilenet_edgetpu_100
mobilenet_edgetpu_v2_l mobilenet_edgetpu_v2_m mobilenet_edgetpu_v2_s
mobilenet_edgetpu_v2_xs mobilenetv1_100 mobilenetv1_100h mobilenetv1_125
mobilenetv2_035 mobilenetv2_050 mobilenetv2_075 mobilenetv2_100
mobilenetv2_110d mobilenetv2_120d mobilenetv2_140 mobilenetv3_large_075
mobilenetv3_large_100 mobilenetv3_large_150d mobilenetv3_rw
mobilenetv3_small_050 mobilenetv3_small_075 mobilenetv3_small_100
mobilenetv4_conv_large mobilenetv4_conv_medium mobilenetv4_conv_small
mobilenetv4_conv_small_035 mobilenetv4_conv_small_050 mobileone_s0
mobileone_s1 mobileone_s2 mobileone_s3 mobileone_s4 regnetv_040 regnetv_064
regnetx_002 regnetx_004 regnetx_004_tv regnetx_006 regnetx_008 regnetx_016
regnetx_032 regnetx_040 regnetx_064 regnetx_080 regnetx_120 regnetx_160
regnety_002 regnety_004 regnety_006 regnety_008 regnety_008_tv regnety_016
regnety_032 regnety_040 regnety_064 regnety_080 regnety_080_tv regnety_120
regnety_160 regnetz_040 regnetz_b16 regnetz_c16 regnetz_d8 regnetz_d32
regnetz_e8 repvgg_a0 repvgg_a1 repvgg_a2 repvgg_b0 repvgg_b1 repvgg_b1g4
repvgg_b2 repvgg_b2g4 repvgg_b3 repvgg_b3g4 resnet10t resnet14t resnet18
resnet18d resnet26 resnet26d resnet26t resnet32ts resnet33ts resnet34
resnet34d resnet50 resnet50c resnet50d resnet50s resnet50t resnet101
resnet101c resnet101d resnet101s resnet152 resnet152c resnet152d resnet152s
resnet200 resnet200d resnetaa34d resnetaa50 resnetaa50d resnetaa101d
resnetrs50 resnetrs101 resnetrs152 resnetrs200 resnetv2_18 resnetv2_18d
resnetv2_34 resnetv2_34d resnetv2_50 resnetv2_50d resnetv2_50t resnetv2_101
resnetv2_101d resnetv2_152 resnetv2_152d resnext26ts resnext50_32x4d
resnext50d_32x4d resnext101_32x4d resnext101_32x8d resnext101_32x16d
resnext101_32x32d resnext101_64x4d selecsls42 selecsls42b selecsls60
selecsls60b selecsls84 semnasnet_050 semnasnet_075 semnasnet_100
semnasnet_140 seresnet18 seresnet33ts seresnet34 seresnet50 seresnet50t
seresnet101 seresnet152 seresnet152d seresnext26d_32x4d seresnext26t_32x4d
seresnext26ts seresnext50_32x4d seresnext101_32x4d seresnext101_32x8d
seresnext101_64x4d seresnext101d_32x8d seresnextaa101d_32x8d spnasnet_100
tf_efficientnet_b0 tf_efficientnet_b1 tf_efficientnet_b2 tf_efficientnet_b3
tf_efficientnet_b4 tf_efficientnet_b5 tf_efficientnet_b6 tf_efficientnet_el
tf_efficientnet_em tf_efficientnet_es tf_efficientnet_lite0
tf_efficientnet_lite1 tf_efficientnet_lite2 tf_efficientnet_lite3
tf_efficientnet_lite4 tf_efficientnetv2_b0 tf_efficientnetv2_b1
tf_efficientnetv2_b2 tf_efficientnetv2_b3 tf_efficientnetv2_l
tf_efficientnetv2_m tf_efficientnetv2_s tf_mobilenetv3_large_075
tf_mobilenetv3_large_100 tf_mobilenetv3_large_minimal_100
tf_mobilenetv3_small_075 tf_mobilenetv3_small_100
tf_mobilenetv3_small_minimal_100 tinynet_a tinynet_b tinynet_c tinynet_d
tinynet_e wide_resnet50_2 wide_resnet101_2 xception41 xception65 xception71
""")

TORCHVISION = _words("""
convnext_large densenet121 densenet161 densenet169 densenet201
efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
efficientnet_b4 efficientnet_b5 efficientnet_v2_s efficientnet_v2_m
regnet_x_400mf regnet_x_800mf
regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_y_400mf regnet_y_800mf
regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf resnext50_32x4d resnext101_32x8d
vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn wide_resnet50_2
wide_resnet101_2
""")

MMPRETRAIN: dict[str, dict[str, Any]] = {
    **{
        f'{name}{depth}': dict(type=f'mmpretrain.{kind}', depth=depth)
        for name, kind in (
            ('resnetv1c', 'ResNetV1c'),
            ('resnetv1d', 'ResNetV1d'),
            ('resnext', 'ResNeXt'),
            ('seresnet', 'SEResNet'),
            ('seresnext', 'SEResNeXt'),
        )
        for depth in (50, 101)
    },
    **{
        f'regnetx_{size}': dict(
            type='mmpretrain.RegNet', arch=f'regnetx_{size}'
        )
        for size in ('400mf', '800mf', '1.6gf', '3.2gf')
    },
    **{
        f'densenet{depth}': dict(type='mmpretrain.DenseNet', arch=depth)
        for depth in ('121', '169', '201')
    },
    **{
        f'vgg{depth}_bn': dict(
            type='mmpretrain.VGG', depth=depth, norm_cfg=dict(type='BN')
        )
        for depth in (11, 13, 16)
    },
    **{
        f'repvgg_{arch.lower()}': dict(
            type='mmpretrain.RepVGG', arch=arch, out_indices=(3,)
        )
        for arch in ('A0', 'A1', 'A2', 'B0')
    },
    **{
        f'mobileone_{arch}': dict(
            type='mmpretrain.MobileOne', arch=arch, out_indices=(3,)
        )
        for arch in ('s0', 's1', 's2')
    },
    'efficientnetv2_s': dict(type='mmpretrain.EfficientNetV2', arch='s'),
}
"""Config of each network of mmpretrain."""

#: Networks of the libraries that are students of this project by other names.
EQUALS = {
    'timm/mobilenetv2_100': 'mobilenet_v2',
    'timm/mobilenetv3_small_100': 'mobilenet_v3_small',
    'timm/mobilenetv3_large_100': 'mobilenet_v3_large',
    'timm/tf_efficientnet_b0': 'efficientnet_b0',
}

LIBRARIES = {
    'timm': TIMM,
    'torchvision': TORCHVISION,
    'mmpretrain': list(MMPRETRAIN),
}


#: How the names of transformers begin, as far as all of a family are such.
_TRANSFORMERS = re.compile(
    r'(tiny_?|small_?|base_?|large_?)?(vit|deit3?|beit(v2)?|swin(v2|_v2)?|'
    r'eva(02)?|cait|xcit|crossvit|(conv|cross|flexi|naflex|gc|max|sam|mobile)'
    r'vit(_?v2)?|hiera|mvit(v2)?|mixer|gmixer|gmlp|resmlp|pvt(_v2)?|'
    r'twins|tnt|nest|jx_nest|levit|volo|pit|coat(net|_lite)?|davit|'
    r'efficientformer(v2)?|maxxvit(v2)?|sequencer2d|vision_?transformer|'
    r'vitamin|nextvit|dinov[23])([\d_-].*)?',
    re.IGNORECASE,
)


def is_transformer(network: str) -> bool:
    """Whether the name of a network is that of a known transformer."""
    return _TRANSFORMERS.fullmatch(network) is not None


def library_backbone(name: str) -> dict[str, Any]:
    """Config of a network of a library, such as 'timm/regnety_002'."""
    library, _, network = name.partition('/')
    if library == 'mmpretrain':
        config = dict(MMPRETRAIN[network])
    elif library == 'torchvision':
        config = dict(type='mmhgkd.TorchvisionBackbone', model_name=network)
    else:
        config = dict(type='mmpretrain.TIMMBackbone', model_name=network)
    return dict(type='mmhgkd.SparseNetwork', network=config)
