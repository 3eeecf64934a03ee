"""Several replicas train as one does, with the same global batch.

TensorFlow splits the processor into two devices only before it starts, so all training happens in
one process of its own: this file, run as a script. It prints what it measured; the tests read that.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NUM_ITEMS, MAX_HISTORY, BATCH_SIZE = 12, 5, 8
