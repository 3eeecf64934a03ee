"""RecTools: SASRec and BERT4Rec.

RecTools reads only a user's latest `session_max_len` items, so a user's training items are cut into
several sessions: every item except a user's first is a label once, as in this package's windows. A
query is the history's latest items, as in `recommend`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from exchange import Request
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

MODELS = {"SASRec": SASRecModel, "BERT4Rec": BERT4RecModel}
MAX_HISTORY, BATCH_SIZE, NEGATIVES = 100, 32, 256  # sessions per step, as in this package's windows


def main() -> None:
    request = Request()
    seed_everything(request.seed)

    class ShowEpochs(Callback):
        """Show the model after every epoch; without state, because RecTools copies it."""

        def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
            module.eval()
            trainer.should_stop = not request.show(scores)
            module.train()

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=request.max_epochs,
            callbacks=[ShowEpochs()],
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    model = MODELS[request.model](
        **request.settings,
        session_max_len=MAX_HISTORY,
        batch_size=BATCH_SIZE,
        n_negatives=NEGATIVES,
        get_trainer_func=trainer,
    )

    def scores(users: np.ndarray, histories: Sequence[np.ndarray]) -> np.ndarray:
        return all_scores(model, histories, request.num_items)

    model.fit(Dataset.construct(sessions(request.train)))
    torch.set_num_threads(1)
    model.torch_model.eval()
    weights = sum(part.numel() for part in model.torch_model.parameters())
    request.finish(scores, parameters=weights, num_bytes=4 * weights)


def sessions(train: list[np.ndarray]) -> pd.DataFrame:
    """Interactions in which each user is a session of at most `MAX_HISTORY + 1` items."""
    parts = [
        items[start : start + MAX_HISTORY + 1]
        for items in train
        for start in range(0, max(len(items) - 1, 1), MAX_HISTORY)
    ]
    order = np.concatenate([np.arange(len(part)) for part in parts])
    return pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(parts)), list(map(len, parts))),
            Columns.Item: np.concatenate(parts),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(order, unit="s"),
        }
    )


def all_scores(model: Any, histories: Sequence[np.ndarray], num_items: int) -> np.ndarray:
    """The scores of every item, -inf for items without training interactions."""
    preparator = model.data_preparator
    known = preparator.get_known_item_ids().astype(int)
    place_of = np.zeros(num_items + 1, int)  # 0 is RecTools' padding
    place_of[known] = preparator.get_known_items_sorted_internal_ids()
    rows = [place_of[history] for history in histories]
    rows = [list(row[row > 0][-MAX_HISTORY:]) or [0] for row in rows]
    batch = preparator._collate_fn_recommend([(row, [1.0] * len(row), {}) for row in rows])
    with torch.no_grad():
        network = model.torch_model
        items = network.item_model.get_all_embeddings()
        queries = network.encode_sessions(batch, items)[:, -1, :]
        queries = network.similarity_module.session_tower_forward(queries)
        found = queries @ network.similarity_module.item_tower_forward(items).T
    scores = np.full((len(histories), num_items + 1), -np.inf, np.float32)
    scores[:, known] = found.numpy()[:, place_of[known]]
    return scores


if __name__ == "__main__":
    main()
