"""Write `docs/recipe.md` from the code: `python docs/make_recipe.py`."""

from pathlib import Path

from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.search.space import space_of

PAGE = """# The recipe

`tfrs-distill run --recipe FILE` takes a TOML file with any of these settings. An unknown key, an
invalid value or a key of another `task` is an error that names it. A run writes its complete recipe
to `saved_models/<name>/recipe.toml`.

`--recipe NAME` takes a built-in recipe. Settings that a file omits are as in the built-in recipe of
its `task` (and of its `data.source`):

| `--recipe` | `task` | result |
|---|---|---|
{recipes}

## Retrieval

```toml
{retrieval}```

Each user's interactions are split by time: 80 % training, 10 % validation, 10 % test
(`split = "user-time"`). This has three limitations. The split is by user and not by date, so the
training rows of other users contain information from after a user's test began. If a test begins at
the timestamp of the preceding interaction, the order of the file decides which of them is tested.
And the bootstrap intervals over users are too narrow with fewer than 100 users. The report measures
each of these on the run's own data (`data.split` and `resampled` of `report.json`).

`split = "leave-one-out"` is what most papers report: each user's last interaction is the test, the
one before it the validation, and the whole catalogue is ranked. `split = "global-time"` uses no
later information: the first 80 % of all interactions are for training and the last 10 % for the
test; users without training interactions are not tested. `ties = "shuffled"` puts interactions with
equal timestamps in a random order.

`split = "cold-items"` evaluates cold-start items: a random quarter of the items is in no training
row. Teacher and student must read texts ([new_items.md](new_items.md)), and settings that a file
omits are as in `--recipe cold-items`, which differs from the recipe above in:

```toml
{cold_items}```

`split = "random"` is for data without timestamps, such as Book-Crossing, and for tables whose row
order has no meaning: each user's interactions are put in a random order and split as above. The
verdict then says that no future is predicted. Student and two-tower teachers do not read the order
of a history (`reads_order=False` in Python), and EASE has no decay. A history of more than
`max_history` items is sampled. Any other split of data without timestamps is an error.

`--recipe book-crossing` (`source = "book-crossing"`) differs from the recipe above in:

```toml
{books}```

It reads 4,000 of the 15,223 users, because a softmax over 36,041 books is slow; `max_users = 0`
reads all. EASE is not evaluated with more than 15,000 items, because its matrix has their square.

`--recipe movielens-1m` (`source = "movielens-1m"`) differs in:

```toml
{movielens_1m}```

`--recipe synthetic` (`source = "synthetic"`) differs in:

```toml
{synthetic}```

`[transfer]` initialises the models from a run of other data, and `train_share` keeps a share of
each user's training interactions: [transfer.md](transfer.md).

## Ranking

`like` (a rating of 4 or 5) and `rating` of MovieLens-100K. The student reads the item and the
history; its teacher also reads the user's id and attributes, the time, and the films' genres.

```toml
{ranking}```

`--recipe multitask` has the same keys and also trains a twin of each task alone. It differs in:

```toml
{multitask}```

## Reviews

`recommended` and `rating` of clothing reviews. The student reads the words, the item, its class and
the customer's age; its teacher is a BERT that reads the title and the review.

```toml
{reviews}```

## Two stages

A retrieval student finds candidates, a ranking student orders them. The ranking student's training
lists are ordered by item-item weights that were not trained on the list's user, and some of them by
a cross-encoder too, which reads history and item together.

```toml
{two_stage}```

## Search for settings

`tfrs-distill tune --recipe FILE --trials 20` (`pip install "tfrs-distill[tune]"`, with Optuna)
tunes the settings of the student and then, with as many trials, of its twin. The first trial of
each has the recipe's own settings, if they are within the search space. The score is that of
validation; the test data is not used. A trial is stopped if its validation score is in the worst
quarter of the trials at that epoch. Default search space:

{search}

`--search KEY=LOW:HIGH` (with `:log` for a logarithmic scale), `--search KEY=A,B,C` and
`--search KEY=VALUE` add a setting, change its range, or fix it. Values that are lists are written
with `+`: `--search teacher.members=two-tower+item-item,two-tower+als`. Settings that student and
twin share, such as `student.embedding_dim`, are tuned by the student's trials. Each teacher that a
trial needs is trained once and kept, like everything else that trials have in common, so a search
of `[distillation]` and `[twin]` costs only the training of the students. A
`distillation.temperature` other than the seven above makes a retrieval recipe label its windows
again, once per value. In `task = "two-stage"` the first stage is trained with
`[distillation]` too: each of its settings that is tried trains the first stage and the
cross-encoder again.

The folder `saved_models/<name>/tune/` holds the study (`study.db`, which Optuna's tools read),
`tune.json`, `tune.html` and `best.toml`. An interrupted search resumes when the command is given
again, and continues with a larger `--trials`. `tfrs-distill run --recipe best.toml` reuses what the
search has trained, and evaluates it on test. That run has the recipe's name and replaces an earlier
run of that name: copy the folder first to compare both with `compare`.
"""
RECIPES = {
    "movielens-100k": "a retrieval student of MovieLens-100K",
    "movielens-1m": "the same for MovieLens-1M, ten times as large",
    "book-crossing": "the same for Book-Crossing: 36,041 books, no timestamps",
    "cold-items": "the same, evaluated on cold-start films",
    "synthetic": "the same for planted data with a known structure",
    "ranking": "a ranking student of MovieLens-100K: like, rating",
    "multitask": "one student with heads for like, rating and the next item",
    "two-stage": "a retrieval student and a ranking student as two stages",
    "reviews": "a ranking student of clothing reviews, taught by a BERT",
}


def page() -> str:
    """The page as it must be."""
    named = {name: Recipe.named(name) for name in RECIPES}
    rows = [f"| `{name}` | `{named[name].task}` | {what} |" for name, what in RECIPES.items()]
    return PAGE.format(
        recipes="\n".join(rows),
        retrieval=named["movielens-100k"].to_toml(),
        cold_items=changes(named["movielens-100k"], named["cold-items"]),
        books=changes(named["movielens-100k"], named["book-crossing"]),
        movielens_1m=changes(named["movielens-100k"], named["movielens-1m"]),
        synthetic=changes(named["movielens-100k"], named["synthetic"]),
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
