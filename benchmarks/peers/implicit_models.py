"""`implicit`: BPR, and the nearest neighbours of items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import implicit
import numpy as np
from exchange import Request, Scores, history_weights
from scipy.sparse import csr_matrix

NEIGHBOURS = {
    "cosine": implicit.nearest_neighbours.CosineRecommender,
    "TF-IDF": implicit.nearest_neighbours.TFIDFRecommender,
    "BM25": implicit.nearest_neighbours.BM25Recommender,
}


def main() -> None:
    request = Request()
    interacted = csr_matrix(history_weights(request.train, request.num_items, None)[:, 1:])
    scores, parameters, num_bytes = MODELS[request.model](request, interacted)
    request.show(scores)
    request.finish(scores, parameters=parameters, num_bytes=num_bytes)


def bpr(request: Request, interacted: csr_matrix) -> tuple[Scores, int, int]:
    """Bayesian personalised ranking (Rendle et al., 2009), which reads users, not histories."""
    model = implicit.bpr.BayesianPersonalizedRanking(
        **request.settings, random_state=request.seed, num_threads=1
    )
    model.fit(interacted, show_progress=False)
    of_users = np.concatenate([model.user_factors, model.user_factors.mean(axis=0)[None]])

    def scores(users: np.ndarray, histories: Sequence[np.ndarray]) -> np.ndarray:
        return with_padding(of_users[users] @ model.item_factors.T)

    parameters = model.user_factors.size + model.item_factors.size
    return scores, parameters, model.user_factors.nbytes + model.item_factors.nbytes


def item_knn(request: Request, interacted: csr_matrix) -> tuple[Scores, int, int]:
    """Item-based nearest neighbours (Sarwar et al., 2001) of the history's items."""
    kind = NEIGHBOURS[request.settings["similarity"]]
    model = kind(K=request.settings["neighbours"])
    model.fit(interacted, show_progress=False)
    similarity = model.similarity.T.tocsr()  # from neighbours to items

    def scores(users: np.ndarray, histories: Sequence[np.ndarray]) -> np.ndarray:
        weights = history_weights(histories, request.num_items, request.settings["decay"])
        return with_padding((similarity @ weights[:, 1:].T).T)

    kept = model.similarity
    return scores, kept.nnz, kept.data.nbytes + kept.indices.nbytes + kept.indptr.nbytes


def with_padding(scores: np.ndarray) -> np.ndarray:
    """Shift scores of item indices from 0 to item indices from 1."""
    return np.pad(scores, [(0, 0), (1, 0)])


MODELS: dict[str, Callable[[Request, csr_matrix], tuple[Any, int, int]]] = {
    "BPR": bpr,
    "item-kNN": item_knn,
}


if __name__ == "__main__":
    main()
