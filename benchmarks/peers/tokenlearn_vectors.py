"""`tokenlearn-static-model`: static vectors of words, trained by others, that come in its wheel."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import static_model


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    vectors = np.array(static_model.get_embeddings(request["texts"]), np.float32)
    weights = Path(static_model.__file__).parent / "model" / "model.safetensors"
    np.savez(request["vectors"], vectors=vectors, bytes=weights.stat().st_size)


if __name__ == "__main__":
    main()
