import sys
from pathlib import Path

# The processes of a study import its parts by their names.
sys.path.append(
    str(Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks')
)
