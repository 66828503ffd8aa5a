"""Makes the modules beside the tests importable; fixtures are in the root's conftest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
