import sys
from pathlib import Path

# The benchmarks are no part of the distribution: they are imported from where they stand.
sys.path.append(str(Path(__file__).parents[2]))
