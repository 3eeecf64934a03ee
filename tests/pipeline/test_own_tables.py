"""Tables of one's own as the data of a run: from the command line and in a recipe."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tfrs_distill import pipeline
from tfrs_distill.cli import main
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.data import load_data, read_data, source_fingerprint
from tfrs_distill.pipeline.recipe import Recipe

ROWS = [(user, item, 10 * item + user) for user in range(12) for item in range(10)]
CSV = "customer,product,ts\n" + "".join(f"C{u},SKU-{i},{t}\n" for u, i, t in ROWS)
ITEMS = "sku,name\n" + "".join(f"SKU-{item},Thing {item}\n" for item in range(11))


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "my shop.csv").write_text(CSV)
    (tmp_path / "products.csv").write_text(ITEMS)
    return tmp_path


def test_a_run_of_tables_has_their_name_and_says_what_it_read(shop):
    tables = str(shop / "my shop.csv"), str(shop / "products.csv")
    recipe = Recipe.named("movielens-100k").of_tables(tables[:1], tables[1:])
    assert recipe.name == "my-shop" and recipe.data.source == "tables"
    assert recipe.teacher.modalities == ("text",)
    data = read_data(recipe)
    assert data.catalogue.num_items == 11 and data.interactions.num_users == 12
    facts, line = data.facts()
    said = "Columns: user = 'customer', item = 'product', time = 'ts', id of the items = 'sku'"
    assert facts["reading"][0].startswith(said) and said in line
    assert "120 of 120 rows are interactions." in facts["reading"]
    json.dumps(facts)


def test_without_items_the_teacher_reads_no_text(shop):
    recipe = Recipe.named("movielens-100k").of_tables([str(shop / "my shop.csv")])
    assert recipe.teacher.modalities == ()
    assert "a teacher of text has nothing to read" in read_data(recipe).facts()[1]


def test_the_same_in_a_recipe_file(shop):
    path = shop / "recipe.toml"
    tables = f'interactions = ["{shop}/my shop.csv"]\nitems = ["{shop}/products.csv"]'
    path.write_text(f'[data]\n{tables}\nuser_column = "customer"\ntext_columns = ["name"]\n')
    recipe = Recipe.load(str(path))
    assert recipe.name == "my-shop" and recipe.data.source == "tables"
    assert read_data(recipe).catalogue.texts[0] == "Thing 0. Thing 0"
    path.write_text(recipe.to_toml())
    assert Recipe.load(str(path)) == recipe


RATED = "who,what,stars\n" + "".join(f"C{u},S{i},{1 + (u + i) % 5}\n" for u, i, _ in ROWS)


def test_ratings_as_weights_in_a_recipe_file_and_in_what_a_run_keeps(shop, tmp_path):
    (shop / "rated.csv").write_text(RATED)
    path = shop / "recipe.toml"
    names = 'user_column = "who"\nitem_column = "what"\n'
    text = f'[data]\ninteractions = ["{shop}/rated.csv"]\n{names}[teacher]\nmodalities = []\n'
    path.write_text(text)
    assert read_data(Recipe.load(str(path))).splits.train.weights is None
    path.write_text(text.replace("[teacher]", "weigh_by_rating = true\n[teacher]"))
    recipe = Recipe.load(str(path))
    data = read_data(recipe)
    np.testing.assert_allclose(data.interactions.weights, data.interactions.ratings / 3, rtol=1e-6)
    facts, line = data.facts()
    assert "its weight is its rating over their mean, 3," in line and line == line.strip()
    data.save(tmp_path)
    kept = load_data(tmp_path, recipe)
    np.testing.assert_array_equal(kept.splits.train.weights, data.splits.train.weights)
    assert kept.splits.train.fingerprint() == facts["fingerprint"]
    path.write_text('task = "two-stage"\n' + path.read_text())
    with pytest.raises(InputError, match="`data.weigh_by_rating` is about a loss of labels one by"):
        Recipe.load(str(path))


def test_other_content_is_other_data(shop):
    recipe = Recipe.named("movielens-100k").of_tables([str(shop / "my shop.csv")])
    before = source_fingerprint(recipe)
    (shop / "my shop.csv").write_text(CSV + "C1,SKU-3,999\n")
    assert source_fingerprint(recipe) != before


@pytest.mark.parametrize(
    "toml, words",
    [
        ('source = "tables"', '`data.interactions` and `data.source` "tables" belong together'),
        ('user_column = "u"', r"`data.user_column` is about tables. Name them as `data.inter"),
        (
            'interactions = ["a.csv"]',
            r"no text for a teacher to read.*`teacher.modalities` to \[\]",
        ),
        ('interactions = [""]', r"`data.interactions` must be a list of different texts"),
        ('interactions = ["a.csv"]\nfolder = "b"', "give one of them"),
        ('interactions = ["a.csv"]\nsource = "synthetic"', "belong together"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path, toml, words):
    path = tmp_path / "recipe.toml"
    path.write_text(f"[data]\n{toml}\n")
    with pytest.raises(InputError, match=words):
        Recipe.load(str(path))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--items", "a.csv"], "--items is about --interactions. Name them."),
        (["--weigh-by-rating"], "--weigh-by-rating is about --interactions"),
        (
            ["--interactions", "{shop}", "--weigh-by-rating"],
            "`weigh_by_rating` needs a column of rat",
        ),
        (["--interactions", "no.csv"], "no.csv does not exist"),
        (["--interactions", "{shop}", "--column", "user"], "--column is ROLE=NAME"),
        (["--interactions", "{shop}", "--column", "buyer=x"], "Received: \"?'?buyer"),
        (["--interactions", "{shop}", "--column", "user=custmer"], "Did you mean 'customer'?"),
        (["--interactions", "{shop}", "--recipe", "ranking"], "recipes that find items"),
        (["--interactions", "{shop}", "--min-rating", "3"], "needs a column of ratings"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(
    shop, capsys, monkeypatch, arguments, words
):
    monkeypatch.chdir(shop)
    arguments = [text.replace("{shop}", str(shop / "my shop.csv")) for text in arguments]
    assert main(["run", *arguments]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (shop / "saved_models" / "my-shop" / "stages" / "teacher").exists()


def test_tables_have_no_attributes(shop):
    recipe = Recipe.named("movielens-100k").of_tables([str(shop / "my shop.csv")])
    teacher = replace(recipe.teacher, modalities=("attributes",))
    with pytest.raises(InputError, match="Tables have neither attributes nor a knowledge graph"):
        pipeline.run(replace(recipe, teacher=teacher), shop / "out")


def test_init_looks_at_the_tables_and_writes_a_recipe_that_says_what_it_found(
    shop, capsys, monkeypatch
):
    monkeypatch.chdir(shop)
    assert main(["init", "my shop.csv", "--items", "products.csv", "--to", "shop.toml"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "my-shop: 12 users, 11 items, 120 interactions" in said
    assert "user = 'customer', item = 'product', time = 'ts', id of the items = 'sku'" in said
    assert said.endswith("Run it: tfrs-distill run --recipe shop.toml")
    recipe = Recipe.load("shop.toml")
    assert recipe.name == "my-shop" and recipe.data.interactions == ("my shop.csv",)
    assert (recipe.data.user_column, recipe.data.title_column) == ("customer", "name")
    assert "# " in (shop / "shop.toml").read_text().splitlines()[0]
    assert main(["init", "my shop.csv", "--to", "shop.toml"]) == 2  # nothing is overwritten
    assert "shop.toml exists already" in capsys.readouterr().err
    assert main(["init", "products.csv", "--to", "other.toml"]) == 2
    assert "Which column of products.csv is the user?" in capsys.readouterr().err
    assert not (shop / "other.toml").exists()
