"""TEMPORARY until the export room lists its forms."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrs_distill.serving.artefact import SAVED_MODEL, TFLITE, TFLITE_INT8
from tfrs_distill.serving.ranker import Ranker
from tfrs_distill.serving.recommender import Recommender


@dataclass(frozen=True)
class Form:
    file: str

    def load(self, folder: Path) -> Any:
        reader: Any = (
            Ranker if '"ranking"' in (folder / "signature.json").read_text() else Recommender
        )
        if self.file == SAVED_MODEL:
            return reader.load(folder, format="saved_model")
        return reader.load(folder / self.file)

    def num_bytes(self, folder: Path) -> int:
        if self.file == SAVED_MODEL:
            paths = [*folder.rglob("saved_model.pb"), *folder.rglob("variables/*")]
        else:
            paths = list(folder.rglob(self.file))
        return sum(path.stat().st_size for path in paths)


FORMS = {
    "saved_model": Form(SAVED_MODEL),
    "student_tflite": Form(TFLITE),
    "student_int8": Form(TFLITE_INT8),
}
