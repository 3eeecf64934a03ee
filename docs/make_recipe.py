"""Write `docs/recipe.md` from the code: `python docs/make_recipe.py`."""

from pathlib import Path

from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.search.space import space_of

PAGE = """# The recipe

`tfrs-distill run --recipe FILE` reads a TOML file with any of these settings. An unknown key, an
invalid value or a key of another `task` is an error that names the key. A run writes its complete
recipe to `saved_models/<name>/recipe.toml`.

`--recipe NAME` uses a built-in recipe. Settings that a file does not contain are as in the built-in
recipe of its `task` (and of its `data.source`):

| `--recipe` | `task` | result |
|---|---|---|
{recipes}

## Retrieval

```toml
{retrieval}```

Each user's interactions are split in order of time: 80 % train, 10 % validation, 10 % test
(`split = "user-time"`). This has three limits. First, the split is by user and not by date, so
training rows of other users can be later than the start of a user's test part. Second, if the test
part begins at the same timestamp as the interaction before it, the order of the file decides which
of them is tested. Third, the bootstrap intervals over users are too narrow for fewer than 100
users. The report says how much each limit applies to the run's data (`data.split` and `resampled`
of `report.json`).

`split = "leave-one-out"` is the split of most papers: each user's last interaction is the test, the
one before it validation, and the whole catalogue is ranked. `split = "global-time"` has no training
rows that are later than the test: the first 80 % of all interactions train, and the last 10 % test;
but users without interactions before the test are not tested. `ties = "shuffled"` orders a user's
interactions with equal timestamps at random by the seed.

`split = "cold-items"` evaluates cold-start items: a quarter of the items, drawn by the seed, is in
no training row. Teacher and student must read texts ([new_items.md](new_items.md)), and missing
settings are as in the recipe `cold-items`.

`split = "random"` is for data without timestamps, such as Book-Crossing, and for tables whose row
order has no meaning: each user's interactions are shuffled by the seed, and split as above. The
models then do not predict the future, and the verdict says so. Student and two-tower teachers do
not read the order of a history (`reads_order=False` in Python), and EASE has no decay. Of a history
with more than `max_history` items, a random part is read. Any other split of data without
timestamps is an error.

`--recipe book-crossing` (`source = "book-crossing"`) differs from the recipe above in:

```toml
{books}```

It reads 4,000 of the 15,223 readers, because a softmax over 36,041 books is slow; `max_users = 0`
reads all. EASE is not evaluated for more than 15,000 items: its matrix of items squared is too
large.

`[transfer]` initialises the models from those of a run of other data, and `train_share` keeps a
share of each user's training interactions: [transfer.md](transfer.md).

## Ranking

`like` (a rating of 4 or 5) and `rating` of MovieLens-100K, predicted by a student that reads the
item and the history; its teacher also reads the user, the time and the films' genres.

```toml
{ranking}```

`--recipe multitask` has the same keys, with the following differences. Each task also gets a twin
that is trained on this task alone:

```toml
{multitask}```

## Reviews

`recommended` and `rating` of clothing reviews, predicted by a student that reads the words, the
item, its class and the customer's age; its teacher is a BERT that reads the title and the review.

```toml
{reviews}```

## Two stages

A retrieval student finds candidates, a ranking student ranks them. The training lists of the
ranking student are ranked by item-item weights that were not trained on the list's user, and some
of them also by a cross-encoder, which reads history and item together.

```toml
{two_stage}```

## Search for settings

`tfrs-distill tune --recipe FILE --trials 20` (`pip install "tfrs-distill[tune]"`, with Optuna)
searches for the settings of the student and then, with the same number of trials, of its twin. The
first trial of each has the recipe's own settings, if all are among the searched values. The search
uses validation only, never the test users. A trial is stopped if its validation score is in the
worst quarter of the trials that reached the same epoch. Searched by default:

{search}

`--search KEY=LOW:HIGH` (with `:log` at the end for a logarithmic scale), `--search KEY=A,B,C` and
`--search KEY=VALUE` add a setting, change its searched values, or fix it. Join the names of a list
with `+`: `--search teacher.members=two-tower+item-item,two-tower+als`. Settings that student and
twin share, such as `student.embedding_dim`, are decided by the student's trials. Each teacher that
a trial needs is trained once and kept, as are all other shared results, so a search of
`[distillation]` and `[twin]` costs only the training of the students. For retrieval, a
`distillation.temperature` other than the seven above needs a new labelling of the windows, once per
value. In `task = "two-stage"` the first stage uses `[distillation]` too: each trial of these
settings trains the first stage and the cross-encoder again.

The folder `saved_models/<name>/tune/` has the study (`study.db`, readable by Optuna's own tools),
`tune.json`, `tune.html` and `best.toml`. An interrupted search resumes when the command is given
again; a larger `--trials` extends it. `tfrs-distill run --recipe best.toml` reuses the trained
stages of the search, and evaluates them on test. That run has the recipe's name and replaces an
earlier run of it: copy the folder first if you want to compare both with `compare`.
"""
RECIPES = {
    "movielens-100k": "a retrieval student of MovieLens-100K",
    "movielens-1m": "the same for MovieLens-1M, ten times as large",
    "book-crossing": "the same for Book-Crossing: 36,041 books, without timestamps",
    "cold-items": "the same, evaluated on cold-start films, which it ranks by their texts alone",
    "synthetic": "the same on planted data with a known answer",
    "ranking": "a ranking student of MovieLens-100K: like, rating",
    "multitask": "one student with heads for like, rating and the next item",
    "two-stage": "a retrieval student and a ranking student that re-ranks its candidates",
    "reviews": "a ranking student of clothing reviews, taught by a BERT",
}


def page() -> str:
    """The page as it must be."""
    named = {name: Recipe.named(name) for name in RECIPES}
    rows = [f"| `{name}` | `{named[name].task}` | {what} |" for name, what in RECIPES.items()]
    return PAGE.format(
        recipes="\n".join(rows),
        retrieval=named["movielens-100k"].to_toml(),
        books=changes(named["movielens-100k"], named["book-crossing"]),
        ranking=named["ranking"].to_toml(),
        multitask=changes(named["ranking"], named["multitask"]),
        reviews=named["reviews"].to_toml(),
        two_stage=named["two-stage"].to_toml(),
        search=searched(named["movielens-100k"]),
    )


def searched(recipe: Recipe) -> str:
    """The default space of a search, as a table."""
    space = [dimension for of_one in space_of(recipe).values() for dimension in of_one]
    rows = [f"| `{dimension.key}` | {dimension.words()} |" for dimension in space]
    return "\n".join(["| setting | values |", "|---|---|", *rows])


def changes(one: Recipe, other: Recipe) -> str:
    """The lines of `other` that are not in `one`, under their sections."""
    there, lines, section = set(one.to_toml().splitlines()), [], ""
    for line in other.to_toml().splitlines():
        section = line if line.startswith("[") else section
        if line not in there:
            lines += [section, line] if section and section not in lines else [line]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "recipe.md").write_text(page(), encoding="utf-8")
