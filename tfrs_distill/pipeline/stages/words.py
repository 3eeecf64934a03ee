"""Choose the word pieces of the items' texts that students read, and compute their vectors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_distill.files import whole_file, write_json
from tfrs_distill.pipeline.encoders import encoder_fingerprint, words_of
from tfrs_distill.pipeline.run_folder import PIECE_VECTORS_FILE, WORDS, WORDS_FILE, Run
from tfrs_distill.pipeline.stage import Result, Stage

READ_BY_STUDENTS = ("read", "id_dropout", "dropout")  # of `item_texts`, not by this stage


def words_stage(run: Run) -> Stage:
    """Return the stage; its folder holds the pieces and their vectors; it precedes all training."""
    recipe = run.recipe

    def settings() -> Any:
        chosen = asdict(recipe.item_texts)
        chosen = {name: value for name, value in chosen.items() if name not in READ_BY_STUDENTS}
        return [chosen, encoder_fingerprint(recipe)]

    def work(folder: Path) -> tuple[Result, str]:
        pieces, vectors = words_of(recipe, run.data.known_texts)
        write_json(folder / WORDS_FILE, asdict(pieces))
        with whole_file(folder / PIECE_VECTORS_FILE) as file:
            np.save(file, vectors)
        return {}, f"{len(pieces.pieces):,} word pieces with vectors of {vectors.shape[1]}"

    return Stage(WORDS, work, settings, after=("data",))
