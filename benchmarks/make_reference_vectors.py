"""Sentence vectors of sentence-transformers, with which the tests compare `TextEncoder`.

    python benchmarks/make_reference_vectors.py MODEL_FOLDER

Writes `tests/teachers/reference_vectors.json`. It runs on PyTorch, so use a separate environment;
this package is not needed there:

    pip install "torch==2.13.0" "sentence-transformers==5.7.0" "transformers==4.57.6"

MODEL_FOLDER is a complete copy of sentence-transformers/all-MiniLM-L6-v2, with `modules.json`,
which specifies how the vectors are pooled and scaled. The asset cache does not have this file;
`hf download` fetches it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

OUT = Path(__file__).parents[1] / "tests" / "teachers" / "reference_vectors.json"
COMMAND = "python benchmarks/make_reference_vectors.py MODEL_FOLDER"
PACKAGES = ("sentence-transformers", "transformers", "tokenizers", "torch", "numpy")
MODULES = ["Transformer", "Pooling", "Normalize"]
MAX_LENGTH = 128
NUM_ENTRIES = 16
DIGITS = 7

LONG_TEXT = (
    "The Lighthouse Keeper's Orchestra (1994). Comedy, Drama, Musical, Mystery. On an island that "
    "no ferry has called at for nineteen years, a retired lighthouse keeper teaches the fishermen "
    "to play the instruments of a shipwrecked orchestra. The baker takes up the bassoon, the "
    "schoolmistress quarrels with the harpist over a waltz, and the postman, who has had no "
    "letters to deliver, learns to conduct from a picture book. When a violin is stolen on the "
    "eve of the first concert, everybody has a reason, and the fog is too thick for anyone to "
    "have left. The keeper's granddaughter, eleven years old and quite unmusical, questions the "
    "whole village by torchlight. What she finds under the boathouse is no violin at all, but the "
    "logbook of the ship. Then the tale turns: a submarine surfaces, robots from the future seize "
    "the harbour, and an explosive war of lasers, tanks and dinosaurs begins."
)
TEXTS = (
    "Toy Story (1995). Animation, Children's, Comedy",
    "2001: A Space Odyssey (1968). Drama, Mystery, Sci-Fi, Thriller",
    "C'est arrivé près de chez vous (1992). Comedy, Crime, Drama",
    "Á köldum klaka (Cold Fever) (1994). Comedy, Drama",
    "Faster Pussycat! Kill! Kill! (1965). Action, Comedy, Drama",
    "To Wong Foo, Thanks for Everything! Julie Newmar (1995). Comedy",
    "Heat",
    LONG_TEXT,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_folder", type=Path, metavar="MODEL_FOLDER")
    folder = parser.parse_args().model_folder
    if not (folder / "modules.json").is_file():
        parser.error(f"{folder} has no modules.json: give a whole copy of the model's folder.")

    model = SentenceTransformer(str(folder), device="cpu")
    modules = [type(module).__name__ for module in model]
    if modules != MODULES or model[1].get_config_dict().get("pooling_mode") != "mean":
        parser.error(f"{folder} holds {model}; expected {MODULES} with the mean of all tokens.")
    wordpieces = [len(model.tokenizer(text)["input_ids"]) for text in TEXTS]
    model.max_seq_length = MAX_LENGTH
    vectors = model.encode(list(TEXTS)).astype(np.float64)
    dot_products = vectors @ vectors.T

    write(
        {
            "made": {
                "command": COMMAND,
                "model": "sentence-transformers/all-MiniLM-L6-v2",
                "weights_sha256": hashlib.sha256(
                    (folder / "model.safetensors").read_bytes()
                ).hexdigest(),
                "modules": modules,
                "max_length": MAX_LENGTH,
                "packages": {package: version(package) for package in PACKAGES},
                "python": platform.python_version(),
                "numbers": f"first {NUM_ENTRIES} of {vectors.shape[1]} entries of each vector, and "
                f"the dot products of all pairs; rounded to {DIGITS} digits",
            },
            "texts": TEXTS,
            "wordpieces": wordpieces,
            "first_entries": vectors[:, :NUM_ENTRIES].round(DIGITS).tolist(),
            "dot_products": dot_products.round(DIGITS).tolist(),
        }
    )


def write(content: dict) -> None:
    """Write the file with one line for each row of numbers."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    text = re.sub(r"\[\s+([-\d.,\se]+?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", text)
    OUT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
