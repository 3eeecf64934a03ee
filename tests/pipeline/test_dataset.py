"""The data stage: what it reads is what the later stages get, and its line says what it took."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from tfrs_distill.data import movielens_100k
from tfrs_distill.pipeline.dataset import load_data, read_data
from tfrs_distill.pipeline.ranking.dataset import read_ranking_data
from tfrs_distill.pipeline.ranking.run import RankingRun
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.progress import SilentProgress

START = datetime(1997, 9, 20, tzinfo=timezone.utc)
MOMENTS = [START + timedelta(hours=n) for n in range(40)]
TIMES = {
    "times in seconds, 1997-09-20 to 1997-09-21": [int(at.timestamp()) for at in MOMENTS],
    "times in milliseconds, 1997-09-20 to 1997-09-21": [
        int(at.timestamp()) * 1000 for at in MOMENTS
    ],
    "times as dates, 1997-09-20 to 1997-09-21": [at.isoformat() for at in MOMENTS],
    "times of no known unit (0.0 to 0.975), of which only the order is used": [
        n / 40 for n in range(40)
    ],
}


@pytest.fixture(params=TIMES)
def folder_and_line(tmp_path, request):
    """Two users with 20 of 20 films each."""
    folder = tmp_path / "films"
    folder.mkdir()
    films = "".join(f"{n}\tFilm {n}\t1990\n" for n in range(1, 21))
    (folder / "a.item").write_text("item_id:token\ttitle:token_seq\tyear:token\n" + films)
    rows = "".join(
        f"u{n % 2}\t{n // 2 + 1}\t3\t{time}\n" for n, time in enumerate(TIMES[request.param])
    )
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "a.inter").write_text(header + rows)
    return folder, request.param


def of_folder(name, folder):
    recipe = Recipe.named(name)
    return replace(recipe, data=replace(recipe.data, folder=str(folder)))


def test_a_retrieval_run_says_what_it_took_the_times_for(tmp_path, folder_and_line):
    folder, line = folder_and_line
    facts, said = read_data(of_folder("movielens-100k", folder), tmp_path)
    assert facts["times"] == line
    assert said == f"a: 2 users, 20 items, 40 interactions, {line}"
    read, kept = movielens_100k(folder), load_data(tmp_path)
    assert kept.catalogue == read.catalogue and kept.user_ids == read.user_ids
    for name in ("users", "items", "ratings", "timestamps"):
        assert getattr(kept, name).dtype == getattr(read, name).dtype
        np.testing.assert_array_equal(getattr(kept, name), getattr(read, name))


def test_a_ranking_run_says_what_it_took_the_times_for(tmp_path, folder_and_line):
    folder, line = folder_and_line
    recipe = of_folder("ranking", folder)
    assert read_ranking_data(recipe).times == line
    lines = []

    class Lines(SilentProgress):
        def done(self, line, seconds, reused):
            lines.append(line)

    RankingRun(recipe, tmp_path / "out", Lines())._data()
    assert lines == [f"a: 20 items, 40 rows, {line}"]
