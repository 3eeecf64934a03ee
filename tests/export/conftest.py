"""Lets the tests in this folder import `planted_student` from the conftest above."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
