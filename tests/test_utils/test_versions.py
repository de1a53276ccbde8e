import os
import re
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import mmcv
import mmengine
import mmpretrain
import pytest

from mmhgkd.utils import check_versions, versions
from mmhgkd.utils.versions import PACKAGES

REQUIREMENTS = Path(__file__).resolve().parents[2] / 'requirements'


def collect() -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        check_versions()
    return [str(warning.message) for warning in caught]


def test_tested_versions_are_silent() -> None:
    assert collect() == []


def test_tested_range_is_the_required_range() -> None:
    lines = ''.join(
        (REQUIREMENTS / f'{name}.txt').read_text()
        for name in ('mminstall', 'det', 'seg')
    )
    required = set(re.findall(r'^(\S+)>=(\S+),<(\S+)$', lines, re.MULTILINE))
    assert required == {
        (package.maintained, package.minimum, package.below)
        for package in PACKAGES
    }


def test_version_is_that_of_the_module() -> None:
    for module in (mmengine, mmcv, mmpretrain):
        found = versions._module_version(module.__name__)
        assert found == module.__version__
    assert versions._module_version('no_such_module') is None


@pytest.mark.parametrize(
    ('version', 'silent'),
    [('2.3.5', False), ('2.3.6', True), ('2.3.99', True), ('2.4.0', False)],
)
def test_untested_version(
    version: str, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {'mmcv': version}
    monkeypatch.setattr(versions, '_module_version', found.get)
    expected = (
        []
        if silent
        else [
            f'mmcv {version} is not among the tested versions; if something '
            'breaks, run `pip install "onedl-mmcv>=2.3.6,<2.4"`'
        ]
    )
    assert collect() == expected


def test_mixed_families(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = tmp_path / 'mmsegmentation-1.2.2.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Name: mmsegmentation\nVersion: 1.2.2\n')
    monkeypatch.syspath_prepend(tmp_path)
    if not versions._is_installed('onedl-mmsegmentation'):
        other = tmp_path / 'onedl_mmsegmentation-1.4.2.dist-info'
        other.mkdir()
        (other / 'METADATA').write_text(
            'Name: onedl-mmsegmentation\nVersion: 1.4.2\n'
        )
    assert metadata.version('mmsegmentation') == '1.2.2'
    assert collect() == [
        'both `mmsegmentation` and `onedl-mmsegmentation` are installed and '
        'share the folder of `mmseg`; run `pip uninstall -y mmsegmentation`, '
        'then `pip install --force-reinstall --no-deps onedl-mmsegmentation`'
    ]


def test_mmpretrain_beside_transformers_5(tmp_path: Path) -> None:
    for name, version in (('transformers', '5.0.0'), ('pycocotools', '2.0')):
        info = tmp_path / f'{name}-{version}.dist-info'
        info.mkdir()
        text = f'Name: {name}\nVersion: {version}\n'
        (info / 'METADATA').write_text(text)
    package = tmp_path / 'transformers'
    (package / 'models' / 'auto').mkdir(parents=True)
    auto = package / 'models' / 'auto' / 'auto_factory.py'
    auto.write_text('class _BaseAutoModelClass: pass\n')
    # As far as MMPretrain's import gets: base classes of its language models
    # are in submodules, from where one name is gone, and so are they.
    (package / '__init__.py').write_text(
        'class PreTrainedModel: pass\n'
        'class AutoModelForCausalLM(PreTrainedModel):\n'
        "    config_class = type('Config', (), {'from_pretrained': None})\n"
        'def __getattr__(name):\n'
        "    if name.startswith('_'):\n"
        '        raise AttributeError(name)\n'
        '    return type(name, (), {})\n'
    )
    code = (
        'import mmhgkd, mmpretrain\n'
        'from mmpretrain.registry import MODELS\n'
        'print(MODELS.get("ResNet").__name__, MODELS.get("BlipCaption"))\n'
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    process = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert 'ResNet' in process.stdout and 'ask_install' in process.stdout


def test_official_family_alone_is_no_mixture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        versions, '_is_installed', lambda name: not name.startswith('onedl-')
    )
    assert collect() == []


def test_import_does_not_import_the_downstream_packages() -> None:
    code = (
        'import sys, mmhgkd; '
        'print({"mmdet", "mmseg", "mmpretrain"} & set(sys.modules))'
    )
    process = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == 'set()\n'
