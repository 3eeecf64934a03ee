"""`model2vec`: texts as averages of static vectors of word pieces, distilled from a BERT."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from model2vec import StaticModel
from model2vec.distill import distill


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = {}
    for coefficient in request["sif_coefficients"]:
        with tempfile.TemporaryDirectory() as folder:
            model = distill(request["encoder"], device="cpu", sif_coefficient=coefficient)
            model.save_pretrained(folder)
            for name, (dim, number) in request["sizes"].items():
                model = StaticModel.from_pretrained(
                    folder, dimensionality=dim, quantize_to=number, force_download=False
                )
                found[f"{name}/{coefficient}"] = np.float32(model.encode(request["texts"]))
                found[f"{name}/bytes"] = np.array(model.embedding.nbytes)
    np.savez(request["vectors"], **found)


if __name__ == "__main__":
    main()
