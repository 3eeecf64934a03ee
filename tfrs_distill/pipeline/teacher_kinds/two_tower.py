"""The two-tower teacher of a run: attention over items with id, text, attributes and graph."""

from __future__ import annotations

import contextlib
import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.data.assets import MOVIELENS_100K
from tfrs_distill.data.item_features import attribute_vectors
from tfrs_distill.data.knowledge_graph import neighbour_vectors
from tfrs_distill.data.readers import read_items
from tfrs_distill.data.readers.knowledge_graph import read_knowledge_graph
from tfrs_distill.data.relink_by_title import relink_by_title
from tfrs_distill.data.windows import Windows
from tfrs_distill.errors import InputError
from tfrs_distill.evaluation import ValidationNDCG
from tfrs_distill.files import file_sha256, whole_file, write_json
from tfrs_distill.models import ItemTower, TwoTower, warm_start
from tfrs_distill.pipeline.encoders import encoder_fingerprint, is_of_tf_hub, open_encoder
from tfrs_distill.pipeline.fit_until_best import fit_for, fit_until_best, save_alone
from tfrs_distill.pipeline.recipe.sections import (
    ADAPTERS,
    ATTRIBUTES,
    BOOKS,
    GRAPH,
    NOTHING,
    PLANTED,
    TABLES,
    TEXT,
)
from tfrs_distill.pipeline.source import item_attributes_of, source_folder
from tfrs_distill.pipeline.teacher_kinds.adapted_encoder import adapted_text_vectors
from tfrs_distill.pipeline.teacher_kinds.kind import Facts, TeacherContext
from tfrs_distill.pipeline.transfer import CHOICES, ENCODER, TEACHER_FILE, Transfer
from tfrs_distill.teachers import (
    AttentionTwoTower,
    BertTwoTower,
    Calibrated,
    MultimodalTwoTower,
)
from tfrs_distill.teachers.domain_adapter import domain_adapter

GRAPH_DIM = 64  # of an item's vector from a graph
VECTORS = "item_vectors.npz"


class TwoTowerOfItems:
    """`AttentionTwoTower` with ids alone, `BertTwoTower` with text, or `MultimodalTwoTower`.

    It is calibrated, because label smoothing makes it underconfident. The items' vectors are
    computed once and the fold teachers read the same: a tuned BERT has seen all training users.
    """

    def __init__(self, context: TeacherContext) -> None:
        self.context = context
        self.modalities = context.recipe.teacher.modalities

    @cached_property
    def transfer(self) -> Transfer | None:
        """The run from whose teacher this one starts, if the recipe names one."""
        recipe = self.context.recipe
        return Transfer(recipe, self.context.data) if recipe.transfer.run else None

    def settings(self) -> Any:
        """Return the encoder's content; the graph's and attributes' files belong to the data."""
        recipe = self.context.recipe
        if self._tuned and TEXT not in self.modalities:
            raise InputError(
                "`tuning` adapts the BERT that reads item text, but `teacher.modalities` has no "
                f'"text". Received: modalities={list(self.modalities)}.'
            )
        source, there = recipe.data.source, {ATTRIBUTES, GRAPH}
        if source in (PLANTED, TABLES, BOOKS):
            there = {ATTRIBUTES} if recipe.data.attribute_columns else set()
        missing = sorted({ATTRIBUTES, GRAPH} & set(self.modalities) - there)
        if missing:
            hint = " Name the columns of attributes as `data.attribute_columns`."
            raise InputError(
                f"Data of the source {source!r} has no {' and no '.join(missing)}. "
                f"Received: `teacher.modalities`={list(self.modalities)}."
                f"{hint if source == TABLES and ATTRIBUTES in missing else ''}"
            )
        if GRAPH in self.modalities:
            self._check_links()
        dropout = recipe.teacher.id_dropout
        if dropout and self.modalities != (TEXT,):
            raise InputError(
                '`teacher.id_dropout` needs a two-tower teacher whose `modalities` are ["text"]. '
                f"Received: id_dropout={dropout}, modalities={list(self.modalities)}."
            )
        if TEXT not in self.modalities:
            return self._link_titles()
        if self._tuned and is_of_tf_hub(recipe):
            raise InputError(
                "`tuning` needs a Hugging Face checkpoint; an encoder from TF-Hub stays frozen. "
                f"Received: {recipe.encoder.name}."
            )
        found = [encoder_fingerprint(recipe), self._link_titles()]
        if self.transfer is not None:
            self.transfer.check()
            found.append(self.transfer.fingerprint("teacher"))
        return found

    def train(self, folder: Path) -> Facts:
        """Compute the items' vectors, then train the towers until validation stops improving."""
        recipe = self.context.recipe
        vectors, encoder = self._item_vectors(folder)
        with whole_file(folder / VECTORS) as file:
            np.savez(file, **vectors)
        teacher = self._start(vectors, recipe.seed)
        if self.transfer is not None and recipe.transfer.trains == NOTHING:
            curves = self._not_trained(teacher)
        else:
            with self._trained_part(teacher, recipe.seed):
                curves = self.fit(teacher)
        read_by = "" if TEXT not in vectors or self._tuned else encoder_fingerprint(recipe)
        facts = self._facts(teacher, curves, encoder, read_by, folder)
        if self.transfer is None:
            return facts
        return facts | {"line": f"{facts['line']}, {self.transfer.line()}"}

    def _facts(
        self,
        teacher: TwoTower,
        curves: dict[str, Any],
        encoder: dict[str, Any],
        read_by: str,
        folder: Path,
    ) -> Facts:
        """Find a trained teacher's temperature, and write both to `folder`."""
        save_alone(teacher, folder / TEACHER_FILE)
        temperature = self.context.temperature_of(teacher)
        epochs = curves["best_epoch"]
        write_json(
            folder / CHOICES, {"epochs": epochs, "temperature": temperature, ENCODER: read_by}
        )
        best = max(curves[f"validation_ndcg@{self.context.k}"])
        reads = " and ".join(["ids", *self.modalities])
        return {
            **({"curves": curves} if epochs else {}),
            "parameters": teacher.num_parameters + encoder.pop("parameters", 0),
            "bytes": (folder / TEACHER_FILE).stat().st_size + encoder.pop("bytes", 0),
            "encoder": encoder,
            "line": f"attention over {reads}, validation NDCG@{self.context.k} {best:.4f} at epoch "
            f"{epochs}, at temperature {temperature:.3g}",
        }

    def open(self, folder: Path) -> Calibrated:
        """Load it from its Keras file."""
        model = tf.keras.models.load_model(folder / TEACHER_FILE)
        return Calibrated(model, _choices(folder)["temperature"])

    def train_fold(self, windows: Windows, fold: int, whole: Path, folder: Path) -> Calibrated:
        """Train on these windows for the full teacher's number of epochs, with the same vectors."""
        if not (folder / TEACHER_FILE).exists():
            recipe = self.context.recipe
            seed = self.context.seed_of_fold(fold)
            with np.load(whole / VECTORS) as vectors:
                teacher = self._start(dict(vectors), seed)
            batches = windows.batches(recipe.teacher.batch_size, seed=seed)
            epochs, rate = _choices(whole)["epochs"], recipe.teacher.learning_rate
            if epochs:
                with self._trained_part(teacher, seed):
                    fit_for(teacher, batches, learning_rate=rate, epochs=epochs)
            save_alone(teacher, folder / TEACHER_FILE)
        with whole_file(folder / CHOICES) as file:
            file.write((whole / CHOICES).read_bytes())
        return self.open(folder)  # as a resumed run will read it

    def extend(self, earlier: Path, folder: Path) -> None:
        """Write the earlier teacher with this run's items; new items are represented by texts."""
        recipe = self.context.recipe
        others = set(self.modalities) - {TEXT}
        if self._tuned or others:
            what = "a tuned BERT" if self._tuned else f"items with {' and '.join(sorted(others))}"
            raise InputError(
                f"A two-tower teacher of {what} cannot continue from an earlier run: new items "
                "would have no such vectors. Train it anew, by `tfrs-distill run`."
            )
        before: TwoTower = tf.keras.models.load_model(earlier / TEACHER_FILE)
        with np.load(earlier / VECTORS) as arrays:
            vectors = dict(arrays)
        new = self.context.splits.catalogue.texts[before.num_items :]
        if TEXT in vectors and new:
            of_new = open_encoder(recipe).encode(new)
            vectors[TEXT] = np.concatenate([vectors[TEXT], of_new.astype(vectors[TEXT].dtype)])
        with whole_file(folder / VECTORS) as file:
            np.savez(file, **vectors)
        teacher = self.untrained(vectors, recipe.seed)
        warm_start(teacher, before, [*range(1, before.num_items + 1), *[0] * len(new)])
        save_alone(teacher, folder / TEACHER_FILE)
        shutil.copy2(earlier / CHOICES, folder / CHOICES)

    def train_further(self, earlier: Path, folder: Path, max_epochs: int) -> Facts:
        """Continue from the weights in `earlier`, with the same vectors."""
        shutil.copy2(earlier / VECTORS, folder / VECTORS)
        teacher: TwoTower = tf.keras.models.load_model(earlier / TEACHER_FILE)
        read_by = _choices(earlier).get(ENCODER, "")
        return self._facts(teacher, self.fit(teacher, max_epochs), {}, read_by, folder)

    def untrained(self, vectors: dict[str, np.ndarray], seed: int) -> TwoTower:
        """Return an untrained teacher with these vectors."""
        named = self.context.recipe.teacher
        attention: dict[str, Any] = {
            "max_history": self.context.recipe.data.max_history,
            "num_blocks": named.num_blocks,
            "num_heads": named.num_heads,
            "dropout": named.dropout,
            "label_smoothing": named.label_smoothing,
            "reads_order": self.context.recipe.data.reads_order,
            "seed": seed,
        }
        if not vectors:
            num_items = self.context.splits.catalogue.num_items
            items = ItemTower(num_items, named.embedding_dim, seed=seed, name="item_tower")
            return AttentionTwoTower(items, **attention)
        attention["embedding_dim"] = named.embedding_dim
        if list(vectors) == [TEXT]:
            return BertTwoTower(vectors[TEXT], id_dropout=named.id_dropout, **attention)
        return MultimodalTwoTower(vectors, **attention)

    def fit(self, teacher: TwoTower, max_epochs: int | None = None) -> dict[str, Any]:
        """Train until validation stops improving, up to the recipe's epochs; return curves."""
        recipe, splits = self.context.recipe, self.context.splits
        return fit_until_best(
            teacher,
            splits.train.batches(recipe.teacher.batch_size, seed=recipe.seed),
            ValidationNDCG(splits.validation, k=self.context.k, model=teacher),
            learning_rate=recipe.teacher.learning_rate,
            max_epochs=max_epochs or recipe.teacher.max_epochs,
            patience=recipe.teacher.patience,
            progress=self.context.progress,
            description="teacher",
        )

    @property
    def _tuned(self) -> bool:
        """Whether the BERT is adapted to the texts."""
        tuning = self.context.recipe.tuning
        return bool(tuning.method != "none" or tuning.pretrain_steps)

    def _start(self, vectors: dict[str, np.ndarray], seed: int) -> TwoTower:
        """Return the starting point of training: new weights, or those of the transferred run."""
        teacher = self.untrained(vectors, seed)
        if self.transfer is not None:
            self.transfer.start_teacher(teacher)
        return teacher

    def _trained_part(self, teacher: TwoTower, seed: int) -> contextlib.AbstractContextManager[Any]:
        """Within the context, only those weights train that the recipe allows after a transfer."""
        transfer = self.context.recipe.transfer
        if self.transfer is None or transfer.trains != ADAPTERS:
            return contextlib.nullcontext()
        return domain_adapter(teacher, transfer.adapter_rank, seed=seed)

    def _not_trained(self, teacher: TwoTower) -> dict[str, Any]:
        """Return the curves of no epoch: the validation score of the untrained teacher."""
        validation = ValidationNDCG(self.context.splits.validation, k=self.context.k, model=teacher)
        logs: dict[str, float] = {}
        validation.on_epoch_end(0, logs)
        score = logs[validation.log_name]
        return {"best_epoch": 0, f"validation_ndcg@{self.context.k}": [score]}

    def _link_titles(self) -> dict[str, str]:
        """Return titles by the item ids of the graph's links, if these are not the data's own."""
        folder = self.context.recipe.data.link_titles
        if GRAPH not in self.modalities or not folder:
            return {}
        return {item.item_id: item.title for item in read_items(folder)[1]}

    def _check_links(self) -> None:
        folder = source_folder(self.context.recipe)
        if not list(folder.glob("*.kg")):
            raise InputError(
                f"There is no knowledge graph, NAME.kg, in the folder {folder}: MovieLens-100K has "
                'one. Remove "knowledge-graph" from `teacher.modalities`.'
            )
        links = sorted(folder.glob("*.link"))
        faulty = [MOVIELENS_100K.members["ml-100k.link"]] == [file_sha256(file) for file in links]
        if faulty and not self.context.recipe.data.link_titles:
            raise InputError(
                "The links into the knowledge graph that come with MovieLens-100K use the item "
                "ids of MovieLens-1M and later sets: used unchanged, they refer to other films. "
                "Give `data.link_titles`, the folder of such a set, to correct them by title."
            )

    def _item_vectors(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the vectors of every modality, and facts about the text encoder."""
        vectors: dict[str, Any] = {}
        encoder: dict[str, Any] = {}
        catalogue = self.context.splits.catalogue

        def trained(text_vectors: np.ndarray) -> TwoTower:
            teacher = self.untrained({TEXT: text_vectors}, self.context.recipe.seed)
            self.fit(teacher)
            return teacher

        for modality in self.modalities:
            if modality == TEXT:
                vectors[TEXT], encoder = adapted_text_vectors(self.context, trained, folder)
                continue
            if modality == ATTRIBUTES:
                attributes = item_attributes_of(self.context.recipe, catalogue)
                vectors[modality] = attribute_vectors(attributes)
                continue
            data_folder = source_folder(self.context.recipe)
            graph, titles = read_knowledge_graph(data_folder), self._link_titles()
            graph = relink_by_title(graph, titles, catalogue) if titles else graph
            dim = min(GRAPH_DIM, catalogue.num_items)
            vectors[modality] = neighbour_vectors(graph, catalogue, dim)
        return vectors, encoder


def _choices(folder: Path) -> dict[str, Any]:
    """Read the choices made on validation: `epochs` and `temperature`."""
    choices: dict[str, Any] = json.loads((folder / CHOICES).read_text())
    return choices
