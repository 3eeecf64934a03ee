"""RecBole: GRU4Rec with a softmax over the catalogue, one training row per prefix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exchange import Request
from recbole.config import Config
from recbole.data.dataloader.general_dataloader import TrainDataLoader
from recbole.data.dataset import SequentialDataset
from recbole.model.sequential_recommender.gru4rec import GRU4Rec
from recbole.trainer import Trainer
from recbole.utils import init_seed

NAME = "train"  # name of RecBole's atomic file


def main() -> None:
    request = Request()
    write_interactions(request.train, Path(NAME))
    config = Config(
        model="GRU4Rec",
        dataset=NAME,
        config_dict={
            "data_path": ".",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO", "group_by": None},
            "train_neg_sample_args": None,  # the softmax needs no negatives
            "loss_type": "CE",
            "seed": request.seed,
            "use_gpu": False,
            "show_progress": False,
            **request.settings,
        },
    )
    init_seed(request.seed, reproducibility=True)
    train = SequentialDataset(config).build()[0]
    model = GRU4Rec(config, train)
    trainer = Trainer(config, model)
    # RecBole's ids: of the known items, in its own order.
    known = np.array(train.field2id_token["item_id"][1:], int)
    id_of = np.zeros(request.num_items + 1, int)
    id_of[known] = np.arange(1, len(known) + 1)

    def scores(users: np.ndarray, histories: Sequence[np.ndarray]) -> np.ndarray:
        model.eval()
        found = np.full((len(histories), request.num_items + 1), -np.inf, np.float32)
        found[:, known] = known_scores(model, [id_of[history] for history in histories])
        return found

    batches = TrainDataLoader(config, train, None, shuffle=True)
    for epoch in range(request.max_epochs):
        trainer._train_epoch(batches, epoch)
        if not request.show(scores):
            break
    torch.set_num_threads(1)
    weights = sum(part.numel() for part in model.parameters())
    request.finish(scores, parameters=weights, num_bytes=4 * weights)


def write_interactions(train: list[np.ndarray], folder: Path) -> None:
    """Write users, items and their order as an atomic file of RecBole."""
    folder.mkdir(exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, items in enumerate(train):
        lines += [f"{user}\t{item}\t{place}" for place, item in enumerate(items)]
    (folder / f"{folder.name}.inter").write_text("\n".join(lines) + "\n")


def known_scores(model: Any, histories: list[np.ndarray]) -> np.ndarray:
    """Scores in the order of RecBole's item ids, float32 [num_queries, num_known]."""
    length = model.max_seq_length
    rows = [history[history > 0][-length:] for history in histories]
    rows = [row if len(row) else np.zeros(1, int) for row in rows]
    padded = np.stack([np.pad(row, (0, length - len(row))) for row in rows])
    with torch.no_grad():
        batch = {
            model.ITEM_SEQ: torch.tensor(padded),
            model.ITEM_SEQ_LEN: torch.tensor(list(map(len, rows))),
        }
        found: np.ndarray = model.full_sort_predict(batch)[:, 1:].numpy()
    return found


if __name__ == "__main__":
    main()
