import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).with_name('soak.py')


def test_some_faults_are_survived() -> None:
    """The tool itself runs hundreds of them."""
    process = subprocess.run(
        [
            sys.executable,
            str(TOOL),
            '--faults',
            '3',
            '--kinds',
            'signal',
            'disk',
            'checkpoint',
        ],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.endswith('3 survived, 0 lost\n')
