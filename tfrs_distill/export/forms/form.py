"""What an export form is: a name, a file of the artefact, and how it is written and read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from tfrs_distill.serving.artefact import SAVED_MODEL
from tfrs_distill.serving.artefact.files import read_provenance, size_of
from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.serving.recommender import Recommender

Arrays = Mapping[str, np.ndarray]
Reader = TypeVar("Reader", Recommender, Ranker)


class ServedModule(Protocol):
    """A `tf.Module` that an export form writes to a file."""

    part: str  # the part of the student that becomes operators, for messages
    has_one_table: bool  # whether one constant is both looked up and multiplied by

    @property
    def served(self) -> dict[str, Any]:
        """Its functions, by the names of their signatures."""

    @property
    def example_inputs(self) -> Mapping[str, Arrays]:
        """Return inputs for one call of each signature of a `.tflite` file."""

    def example_outputs(self) -> Mapping[str, Arrays]:
        """Return what TensorFlow computes of the example inputs, by signature and output."""


@dataclass(frozen=True)
class ExportForm:
    """A form in which an artefact holds the student: a model file, its writer and its reader.

    Args:
        key: its key among the models of `report.json`.
        title: its short name, written after the name of the exported student.
        what: a short description, for a report.
        file: its file in the artefact's folder: a `.tflite` file, or `saved_model.pb`.
        write: `write(module, folder)` adds the file to the artefact's folder, which already holds
            the SavedModel of `module`, unless the SavedModel itself is written.
    """

    key: str
    title: str
    what: str
    file: str
    write: Callable[[ServedModule, Path], None]

    @property
    def format(self) -> str:
        """The reader's `format`: "saved_model" or "tflite"."""
        return "saved_model" if self.file == SAVED_MODEL else "tflite"

    def path(self, folder: str | os.PathLike[str]) -> Path:
        """Return what a reader of the artefact in `folder` opens: the file or the folder."""
        return Path(folder) if self.file == SAVED_MODEL else Path(folder) / self.file

    def load(self, folder: str | os.PathLike[str], reader: type[Reader]) -> Reader:
        """Open this form of the artefact in `folder`.

        Args:
            folder: the artefact's folder.
            reader: `Recommender` for a retrieval student or two stages, `Ranker` for a ranking
                student.

        Raises:
            InputError: see `Recommender.load` and `Ranker.load`.
        """
        return reader.load(self.path(folder), format=self.format)

    def num_bytes(self, folder: str | os.PathLike[str]) -> int:
        """Return the size of this form of the artefact in `folder`; for two stages, of both models.

        Raises:
            InputError: `folder` is not an artefact.
        """
        files = read_provenance(Path(folder))["files"]
        return sum(
            size_of(files, name)
            for name in files
            if name == self.file or name.endswith(f"/{self.file}")
        )
