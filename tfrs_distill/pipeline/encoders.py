"""The text encoder of a run: a BERT, or an encoder from TF-Hub."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfrs_distill.data.assets import minilm_folder
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe import RankingRecipe, RetrievalRecipe
from tfrs_distill.serving.word_pieces import WordPieces
from tfrs_distill.teachers import HubEncoder, TextEncoder
from tfrs_distill.teachers.bert.checkpoint import checkpoint_fingerprint
from tfrs_distill.teachers.bert.piece_vectors import piece_vectors


def open_encoder(recipe: RetrievalRecipe | RankingRecipe) -> TextEncoder | HubEncoder:
    """Return the recipe's encoder."""
    return open_hub_encoder(recipe) if is_of_tf_hub(recipe) else open_bert(recipe)


def open_bert(recipe: RetrievalRecipe | RankingRecipe) -> TextEncoder:
    """Open a checkpoint from a folder or the Hugging Face Hub, by default the fetched MiniLM."""
    named = recipe.encoder
    return TextEncoder(
        encoder_name(recipe),
        pooling=None if named.pooling == "auto" else named.pooling,  # type: ignore[arg-type]
        max_length=named.max_length or None,
        long_texts=named.long_texts,  # type: ignore[arg-type]
    )


def words_of(recipe: RetrievalRecipe, texts: Sequence[str]) -> tuple[WordPieces, np.ndarray]:
    """Return the word pieces that a student reads, and their vectors from the encoder.

    Args:
        recipe: its encoder and `item_texts`.
        texts: the texts available in training.

    Raises:
        InputError: the encoder is from TF-Hub or tokenizes texts in another way, or there are too
            few texts for the width.
    """
    if is_of_tf_hub(recipe):
        raise InputError(
            "A student's text tower reads word pieces of the encoder's vocabulary, and an encoder "
            f"from TF-Hub has none to read. Received: {recipe.encoder.name}. Give a Hugging Face "
            "checkpoint, or set `item_texts.read` to false."
        )
    chosen, encoder = recipe.item_texts, open_bert(recipe)
    pieces = WordPieces.for_texts(
        encoder.vocabulary,
        texts,
        min_count=1,
        num_first=chosen.num_common,
        max_pieces=chosen.max_pieces,
        lowercase=encoder.lowercase,
    )
    return pieces, piece_vectors(encoder, pieces, texts, min(chosen.piece_dim, len(texts)))


def open_hub_encoder(recipe: RetrievalRecipe | RankingRecipe) -> HubEncoder:
    """Open a SavedModel from a folder or TF-Hub."""
    named = recipe.encoder
    return HubEncoder(
        named.name, output_key=named.output_key or None, preprocessor=named.preprocessor or None
    )


def encoder_fingerprint(recipe: RetrievalRecipe | RankingRecipe) -> str:
    """Return the encoder's fingerprint, without loading it if possible."""
    if is_of_tf_hub(recipe):
        return open_hub_encoder(recipe).fingerprint()
    settings = dataclasses.asdict(recipe.encoder) | {"name": ""}
    return json.dumps([checkpoint_fingerprint(encoder_name(recipe)), settings], sort_keys=True)


def encoder_name(recipe: RetrievalRecipe | RankingRecipe) -> str:
    """Return its folder or its name."""
    return recipe.encoder.name or str(minilm_folder())


def is_of_tf_hub(recipe: RetrievalRecipe | RankingRecipe) -> bool:
    """Whether it is a SavedModel or the address of one, and not a Hugging Face checkpoint."""
    name = recipe.encoder.name
    return "://" in name or (bool(name) and (Path(name) / "saved_model.pb").is_file())
