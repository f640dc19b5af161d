"""Names src/ `imageserver` for all tests, as bootstrap.py does for what is started as a file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
import bootstrap

bootstrap.provide_package()
