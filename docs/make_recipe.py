"""Write `docs/recipe.md` from the code: `python docs/make_recipe.py`."""

from pathlib import Path

from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.search.space import space_of

PAGE = """# The recipe

A run is data: `tfrs-distill run --recipe FILE` takes a TOML file with any of these settings; an
unknown key, a value that breaks its rule or a key that another `task` reads is an error that names
it. A run leaves its own recipe, whole, in `saved_models/<name>/recipe.toml`.

`--recipe NAME` takes one that is built in, and what a file leaves out is as in the built-in recipe
of its `task` (and of its `data.source`):

| `--recipe` | `task` | what comes out |
|---|---|---|
{recipes}

## Retrieval

```toml
{retrieval}```

Each user's interactions are split in order of time: 80 % train, 10 % validate, 10 % test
(`split = "user-time"`). This has three limits. The split is by user and not by date, so the
training rows of other users tell of the time after a user's test began. Where a test begins at the
same time stamp as the interaction before it, the order of the file decides which of them is tested.
And the intervals, by bootstrap over users, are too narrow where these are fewer than 100. The
report says how much of each there is in the run's own data (`data.split` and `resampled` of
`report.json`).

`split = "leave-one-out"` is what most papers report: each user's last interaction tests, the one
before it validates, and the whole catalogue is ranked. `split = "global-time"` has no later
knowledge: the first 80 % of all interactions train, whoever's they are, and the last 10 % test; but
users who come after training, with nothing before, are not tested. `ties = "shuffled"` deals the
interactions of one user and time stamp by the seed.

`split = "cold-items"` asks for items that nobody has met: a quarter of them, drawn by the seed, is
in no training row. Teacher and student must read texts then ([new_items.md](new_items.md)), and
what a file leaves out is as in the recipe `cold-items`.

`split = "random"` is for data without times, such as Book-Crossing, and for tables whose order of
rows says nothing: each user's interactions are put in an order of chance by the seed, and cut as
above. No future is predicted then, and the verdict says so. Student and two-tower teachers do not
read the order of a history (`reads_order=False` in Python), and EASE has no decay. Of a history of
more than `max_history` items a random part is read. Any other split of data without times is an
error.

`--recipe book-crossing` (`source = "book-crossing"`) differs from the recipe above in:

```toml
{books}```

It reads 4,000 of the 15,223 readers, for a softmax over 36,041 books takes its time;
`max_users = 0` reads all. EASE is not measured where there are more than 15,000 items: a matrix of
their square is too large.

`[transfer]` starts the models from those of a run of other data, and `train_share` keeps a share of
each user's training interactions: [transfer.md](transfer.md).

## Ranking

`like` (a rating of 4 or 5) and `rating` of MovieLens-100K, by a student that reads the item and
the history; its teacher also reads who the user is, when it was, and the films' genres.

```toml
{ranking}```

`--recipe multitask` has the same keys; these are not as above, and each task also gets a twin that
learns it alone:

```toml
{multitask}```

## Reviews

`recommended` and `rating` of clothing reviews, by a student that reads the words, the item, its
class and the customer's age; its teacher is a BERT that reads the title and the review.

```toml
{reviews}```

## Two stages

A retrieval student finds candidates, a ranking student orders them. The lists that the ranking
student learns from are ordered by item-item weights that never met the list's user, and some of
them by a cross-encoder too, which reads history and item together.

```toml
{two_stage}```

## Search for settings

`tfrs-distill tune --recipe FILE --trials 20` (`pip install "tfrs-distill[tune]"`, with Optuna)
searches for the settings of the student and then, with as many trials, of its twin; the first
trial of each has the recipe's own settings, where all are among the values searched. Validation
decides; the test users are not looked at. A trial is stopped when its validation score is in the
worst quarter of the trials that came as far. Searched by default:

{search}

`--search KEY=LOW:HIGH` (`:log` behind it for a logarithmic scale), `--search KEY=A,B,C` and
`--search KEY=VALUE` add a setting, change what is searched of one, or fix it; names of a list are
joined: `--search teacher.members=two-tower+item-item,two-tower+als`. What student and twin share,
such as `student.embedding_dim`, the student's trials decide. Each teacher that a trial needs is
trained once and kept, as is all else that trials have in common, so a search of `[distillation]`
and `[twin]` costs no more than training the students. Only a `distillation.temperature` beside the
seven above has a recipe that recommends label its windows anew, once for each value. In
`task = "two-stage"` the first stage learns by `[distillation]` too: each of its settings that is
tried trains the first stage and the cross-encoder again.

The folder `saved_models/<name>/tune/` holds the study (`study.db`, which Optuna's own tools
read), `tune.json`, `tune.html` and `best.toml`. An interrupted search goes on when the command is
given again, and with a larger `--trials` it goes further. `tfrs-distill run --recipe best.toml`
takes what the search has trained, and measures it on test. That run has the recipe's name and
takes the place of an earlier one of it: copy the folder first to lay both beside each other with
`compare`.
"""
RECIPES = {
    "movielens-100k": "a retrieval student of MovieLens-100K",
    "movielens-1m": "the same of MovieLens-1M, ten times as large",
    "book-crossing": "the same of Book-Crossing: 36,041 books, and no times",
    "cold-items": "the same asked for films that nobody has met, known by their texts alone",
    "synthetic": "the same on planted data whose right answer is known",
    "ranking": "a ranking student of MovieLens-100K: like, rating",
    "multitask": "one student with heads for like, rating and the next item",
    "two-stage": "a retrieval and a ranking student, which recommend together",
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
    """The lines of `other` that are not in `one`, below their sections."""
    there, lines, section = set(one.to_toml().splitlines()), [], ""
    for line in other.to_toml().splitlines():
        section = line if line.startswith("[") else section
        if line not in there:
            lines += [section, line] if section and section not in lines else [line]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "recipe.md").write_text(page(), encoding="utf-8")
