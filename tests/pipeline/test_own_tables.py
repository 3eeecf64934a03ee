"""The user's own tables as the data of a run: from the command line and in a recipe."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tfrs_distill import pipeline
from tfrs_distill.cli import main
from tfrs_distill.data import movielens_ranking
from tfrs_distill.data.tables.users_table import read_user_groups
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.data import load_data
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.source import read_data, source_fingerprint
from tfrs_distill.pipeline.tasks import make_tasks
from tfrs_distill.pipeline.teacher_kinds.two_tower import TwoTowerOfItems

ROWS = [(user, item, 10 * item + user) for user in range(12) for item in range(10)]
CSV = "customer,product,ts\n" + "".join(f"C{u},SKU-{i},{t}\n" for u, i, t in ROWS)
ITEMS = "sku,name\n" + "".join(f"SKU-{item},Thing {item}\n" for item in range(11))


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "my shop.csv").write_text(CSV)
    (tmp_path / "products.csv").write_text(ITEMS)
    return tmp_path


def test_a_run_of_tables_has_their_name_and_describes_them(shop):
    tables = str(shop / "my shop.csv"), str(shop / "products.csv")
    recipe = Recipe.named("movielens-100k").of_tables(tables[:1], tables[1:])
    assert recipe.name == "my-shop" and recipe.data.source == "tables"
    assert recipe.teacher.modalities == ("text",)
    data = read_data(recipe)
    assert data.catalogue.num_items == 11 and data.interactions.num_users == 12
    facts, line = data.facts()
    output = "Columns: user = 'customer', item = 'product', time = 'ts', id of the items = 'sku'"
    assert facts["reading"][0].startswith(output) and output in line
    assert "120 of 120 rows are interactions." in facts["reading"]
    json.dumps(facts)


def test_without_items_the_teacher_reads_no_text(shop):
    recipe = Recipe.named("movielens-100k").of_tables([str(shop / "my shop.csv")])
    assert recipe.teacher.modalities == ()
    assert "a text teacher has no texts to read" in read_data(recipe).facts()[1]


def test_a_recipe_file_gives_the_same(shop):
    path = shop / "recipe.toml"
    tables = f'interactions = ["{shop}/my shop.csv"]\nitems = ["{shop}/products.csv"]'
    path.write_text(f'[data]\n{tables}\nuser_column = "customer"\ntext_columns = ["name"]\n')
    recipe = Recipe.load(str(path))
    assert recipe.name == "my-shop" and recipe.data.source == "tables"
    assert read_data(recipe).catalogue.texts[0] == "Thing 0. Thing 0"
    path.write_text(recipe.to_toml())
    assert Recipe.load(str(path)) == recipe


RATED = "who,what,stars\n" + "".join(f"C{u},S{i},{1 + (u + i) % 5}\n" for u, i, _ in ROWS)


def test_ratings_as_weights_in_a_recipe_file_and_in_the_data_stage(shop, tmp_path):
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
    assert "is its rating divided by the mean, 3," in line and line == line.strip()
    data.save(tmp_path)
    kept = load_data(tmp_path, recipe)
    np.testing.assert_array_equal(kept.splits.train.weights, data.splits.train.weights)
    assert kept.splits.train.fingerprint() == facts["fingerprint"]
    path.write_text('task = "two-stage"\n' + path.read_text())
    with pytest.raises(
        InputError, match="`data.weigh_by_rating` applies to a loss of single labels"
    ):
        Recipe.load(str(path))


def test_dislikes_in_a_recipe_file_and_in_the_data_stage(shop, tmp_path):
    (shop / "rated.csv").write_text(RATED)
    path = shop / "recipe.toml"
    names = 'user_column = "who"\nitem_column = "what"\n'
    text = f'[data]\ninteractions = ["{shop}/rated.csv"]\n{names}[teacher]\nmodalities = []\n'
    path.write_text(text.replace("[teacher]", "disliked_below = 2.0\n[teacher]"))
    recipe = Recipe.load(str(path))
    data = read_data(recipe)
    signs = np.where(data.interactions.ratings < 2, -1.0, 1.0)
    np.testing.assert_array_equal(data.interactions.weights, signs)
    facts, line = data.facts()
    assert "24 of 120 interactions are rated below 2: as labels they have the weight -1" in line
    data.save(tmp_path)
    kept = load_data(tmp_path, recipe)
    assert kept.splits.train.fingerprint() == facts["fingerprint"]
    assert kept.splits.test.num_positives == data.splits.test.num_positives < 12
    path.write_text('task = "two-stage"\n' + path.read_text())
    with pytest.raises(
        InputError, match="`data.disliked_below` applies to a loss .* Received: 2.0"
    ):
        Recipe.load(str(path))


def test_dislikes_of_a_source_with_ratings():
    recipe = Recipe.named("synthetic").with_dislikes(3)
    data = read_data(replace(recipe, data=replace(recipe.data, max_users=20)))
    assert ((data.interactions.ratings < 3) == (data.interactions.weights == -1)).all()
    assert "are rated below 3: as labels" in data.facts()[1]
    assert recipe.with_dislikes(0.0) is recipe
    with pytest.raises(InputError, match=r"--disliked-below.* 2 with `task` \"r"):
        Recipe.named("ranking").with_dislikes(2)


def test_changed_content_changes_the_fingerprint(shop):
    recipe = Recipe.named("movielens-100k").of_tables([str(shop / "my shop.csv")])
    before = source_fingerprint(recipe)
    (shop / "my shop.csv").write_text(CSV + "C1,SKU-3,999\n")
    assert source_fingerprint(recipe) != before


@pytest.mark.parametrize(
    "toml, words",
    [
        ('source = "tables"', '`data.interactions` and `data.source` "tables" belong together'),
        ('user_column = "u"', r"`data.user_column` describes tables, .* Name them as `data.inter"),
        (
            'interactions = ["a.csv"]',
            r"no text for a teacher to read.*`teacher.modalities` to \[\]",
        ),
        ('interactions = [""]', r"`data.interactions` must be a list of different texts"),
        ('interactions = ["a.csv"]\nfolder = "b"', "give one of them"),
        ('interactions = ["a.csv"]\nsource = "synthetic"', "belong together"),
        (
            'interactions = ["a.csv"]\nmin_rating = 3.0\ndisliked_below = 3.0',
            r"`data.min_rating` \(--min-rating\) .* `data.disliked_below` \(--disl.*rating=3, d",
        ),
    ],
)
def test_incompatible_settings(tmp_path, toml, words):
    path = tmp_path / "recipe.toml"
    path.write_text(f"[data]\n{toml}\n")
    with pytest.raises(InputError, match=words):
        Recipe.load(str(path))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--items", "a.csv"], "--items describes --interactions, which is missing."),
        (["--users", "a.csv"], "--users describes --interactions, which is missing."),
        (["--weigh-by-rating"], "--weigh-by-rating describes --interactions"),
        (
            ["--interactions", "{shop}", "--weigh-by-rating"],
            "weigh_by_rating needs a column of rat",
        ),
        (["--interactions", "no.csv"], "no.csv does not exist"),
        (["--interactions", "{shop}", "--column", "user"], "--column must be ROLE=NAME"),
        (["--interactions", "{shop}", "--column", "buyer=x"], "Received: \"?'?buyer"),
        (["--interactions", "{shop}", "--column", "user=custmer"], "Did you mean 'customer'?"),
        (["--interactions", "{shop}", "--recipe", "ranking"], "a model of ratings needs a column"),
        (["--interactions", "{shop}", "--min-rating", "3"], "needs a column of ratings"),
        (["--interactions", "{shop}", "--disliked-below", "3"], "disliked_below needs a column"),
        (["--recipe", "ranking", "--disliked-below", "3"], "--disliked-below cannot be used with"),
        (
            ["--interactions", "{shop}", "--min-rating", "3", "--recipe", "ranking"],
            "also learns from low ratings",
        ),
    ],
)
def test_invalid_settings_are_refused_before_training(shop, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(shop)
    arguments = [text.replace("{shop}", str(shop / "my shop.csv")) for text in arguments]
    assert main(["run", *arguments]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (shop / "saved_models" / "my-shop" / "stages" / "teacher").exists()


def test_attributes_without_a_column_are_refused(shop):
    recipe = Recipe.named("movielens-100k").of_tables([str(shop / "my shop.csv")])
    teacher = replace(recipe.teacher, modalities=("attributes",))
    with pytest.raises(InputError, match="'tables' has no attributes.*`data.attribute_columns`"):
        pipeline.run(replace(recipe, teacher=teacher), shop / "out")
    teacher = replace(recipe.teacher, modalities=("knowledge-graph",))
    with pytest.raises(InputError, match="Data of the source 'tables' has no knowledge-graph"):
        pipeline.run(replace(recipe, teacher=teacher), shop / "out")


PRICED = "sku,name,brand,price\n" + "".join(
    f"SKU-{item},Thing {item},{'' if item == 3 else 'AB'[item % 2]},{item or ''}\n"
    for item in range(11)
)


def test_columns_of_attributes_are_read_by_a_two_tower_teacher(shop, tmp_path):
    (shop / "priced.csv").write_text(PRICED)
    named = Recipe.named("movielens-100k")
    tables = [str(shop / "my shop.csv")], [str(shop / "priced.csv")]
    recipe = named.of_tables(*tables, columns={"attribute": ["brand", "price"]})
    assert recipe.teacher.modalities == ("text", "attributes")
    teacher = replace(recipe.teacher, kind="two-tower", modalities=("attributes",))
    recipe = replace(recipe, teacher=teacher)
    path = shop / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.load(str(path)) == recipe
    data = read_data(recipe)
    setting = SimpleNamespace(recipe=recipe, splits=data.splits)
    vectors, _ = TwoTowerOfItems(setting)._item_vectors(tmp_path)
    prices = np.arange(1, 11)  # but the first has none
    assert vectors["attributes"].shape == (11, 3)
    assert vectors["attributes"][:, 0].tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]  # brand A
    assert vectors["attributes"][:, 1].tolist() == [0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0]
    expected = [0, *(prices - prices.mean()) / prices.std()]
    np.testing.assert_allclose(vectors["attributes"][:, 2], expected, rtol=1e-6)
    with pytest.raises(InputError, match=r"has no column 'brnd'.* Did you mean 'brand'\?"):
        read_data(named.of_tables(*tables, columns={"attribute": "brnd"}))
    with pytest.raises(InputError, match=r"columns of `data.items` \(--items\)"):
        named.of_tables(tables[0], columns={"attribute": "brand"})
    with pytest.raises(InputError, match="`teacher.modalities` have .attributes"):
        replace(recipe, teacher=replace(teacher, modalities=()))


def test_a_student_reads_columns_of_the_users_table(shop, tmp_path):
    rows = "".join(f"C{user},{'gold' if user % 2 else ''},{20 + user}\n" for user in range(11))
    (shop / "users.csv").write_text("customer,plan,age\n" + rows)
    tables, users = [str(shop / "my shop.csv")], [str(shop / "users.csv")]
    recipe = Recipe.named("movielens-100k").of_tables(tables, users=users)
    recipe = replace(recipe, data=replace(recipe.data, user_attributes=("plan", "age")))
    path = shop / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.load(str(path)) == recipe
    data = read_data(recipe)
    vocabulary, indices = data.known_users
    # 20 to 30: eight buckets of 11 ages begin at every 10/8th of them, rounded up.
    ages = (20.0, 22.0, 23.0, 24.0, 25.0, 27.0, 28.0, 29.0)
    assert vocabulary.attributes == {"plan": ("gold",), "age": ages}
    place = {user: data.interactions.user_ids.index(f"C{user}") for user in range(12)}
    assert [indices[place[user]].tolist() for user in (0, 1, 2, 10, 11)] == [
        [0, 1],
        [1, 1],
        [0, 2],
        [0, 8],
        [0, 0],
    ]
    assert data.user_groups.keys() == {"plan", "age"}  # shown by its columns, if none is named
    assert (
        "User attributes that the student reads: plan (1 values), age (8 values)." in data.reading
    )
    data.save(tmp_path)
    kept = load_data(tmp_path, recipe)
    np.testing.assert_array_equal(
        kept.splits.test.user_attributes, data.splits.test.user_attributes
    )


def test_an_attribute_with_too_many_values_for_groups_is_read_and_others_are_shown(shop):
    customers = [f"C{number}" for number in range(60)]
    rows = [f"{customer},{day}" for customer in customers for day in range(10)]
    (shop / "many.csv").write_text(
        "\n".join(["customer,ts,product", *(f"{r},{r[-1]}" for r in rows)])
    )
    table = [f"{c},town {c},{'ab'[n % 2]}" for n, c in enumerate(customers)]
    (shop / "users.csv").write_text("\n".join(["customer,town,plan", *table]))
    tables, users = [str(shop / "many.csv")], [str(shop / "users.csv")]
    recipe = Recipe.named("movielens-100k").of_tables(tables, users=users)
    for names, groups in ((("town", "plan"), {"plan"}), (("town",), set())):
        data = read_data(replace(recipe, data=replace(recipe.data, user_attributes=names)))
        assert data.known_users.vocabulary.sizes[0] == 60 and data.user_groups.keys() == groups
        assert any("Groups of" in sentence for sentence in data.reading) == bool(groups)


def test_attributes_that_no_source_has_are_refused(shop):
    tables = [str(shop / "my shop.csv")]
    recipe = Recipe.named("movielens-100k").of_tables(tables)
    with pytest.raises(InputError, match=r"`data.user_attributes` are columns of `data.users`"):
        replace(recipe.data, user_attributes=("age",))
    with pytest.raises(InputError, match=r"source=\"synthetic\""):
        replace(Recipe.named("synthetic").data, user_attributes=("age",))
    two_stage = Recipe.named("two-stage")
    with pytest.raises(InputError, match="are read by one-stage students only"):
        replace(two_stage, data=replace(two_stage.data, user_attributes=("age",)))


def test_groups_of_users_become_segments(shop, tmp_path):
    table = "id,customer,country,age\n" + "".join(
        f"{user},C{user},{['de', 'fr', ''][user % 3]},{20 + user}\n" for user in range(11)
    )
    (shop / "users.csv").write_text(table)
    tables, users = [str(shop / "my shop.csv")], [str(shop / "users.csv")]
    named = Recipe.named("movielens-100k")
    recipe = named.of_tables(tables, users=users, columns={"group": ["country", "age"]})
    path = shop / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.load(str(path)) == recipe
    data = read_data(recipe)
    place = {user: data.interactions.user_ids.index(f"C{user}") for user in range(12)}
    countries, ages = data.user_groups["country"], data.user_groups["age"]
    assert [countries[place[user]] for user in range(5)] == ["de", "fr", "", "de", "fr"]
    assert ages[place[11]] == ""  # the table does not have this user
    # 20 to 30: 11 numbers; a quarter of the way from the first to the last is the third, 22.
    assert ages[place[0]] == ages[place[2]] == "22 or less" and ages[place[3]] == "above 22 to 25"
    assert ages[place[10]] == "above 27"
    result = "country (de, fr); age (22 or less, above 22 to 25, above 25 to 27, above 27)"
    assert data.reading[-1] == f"Groups of the users: {result}."
    data.save(tmp_path)
    kept = load_data(tmp_path, recipe).user_groups
    assert {name: tuple(groups) for name, groups in kept.items()} == dict(data.user_groups)
    some = replace(recipe, data=replace(recipe.data, max_users=3))
    assert len(read_data(some).user_groups["age"]) == 3
    usual = read_data(named.of_tables(tables, users=users))
    assert usual.user_groups.keys() == {"country"}
    before = source_fingerprint(recipe)
    (shop / "users.csv").write_text(table.replace("fr", "it"))
    assert source_fingerprint(recipe) != before
    (shop / "users.csv").write_text(table.replace("C", "D"))
    with pytest.raises(InputError, match=r"none of the 12 users, .*has 11 ids, such as 'D0'"):
        read_data(recipe)
    (shop / "users.csv").write_text("customer,note\nC1,x\n")
    with pytest.raises(InputError, match="Which columns of .*users.csv are groups of users"):
        read_data(named.of_tables(tables, users=users))
    with pytest.raises(InputError, match="columns of `data.users`"):
        named.of_tables(tables, columns={"group": "country"})
    with pytest.raises(InputError, match="available in retrieval recipes"):
        Recipe.named("ranking").of_tables(tables, users=users)
    many = "user,city\n" + "".join(f"C{user},city {user}\n" for user in range(12))
    (shop / "users.csv").write_text(many)
    data = read_data(named.of_tables(tables, users=users))
    assert len(set(data.user_groups["city"])) == 12 and data.reading[-1].endswith(" and 6 more).")


def test_too_many_values_for_groups_are_refused():
    ids = [f"u{number}" for number in range(51)]
    with pytest.raises(InputError, match="'city' has 51 different values for the users; at most"):
        read_user_groups({"user": ids, "city": ids}, ids)


def test_ratings_in_tables_give_the_same_rows_as_in_a_folder(shop, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    lines = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    csv = "who,what,stars,when\n"
    random = np.random.default_rng(0)
    for user in range(6):
        for place, item in enumerate(random.permutation(11)):
            row = f"C{user}", f"SKU-{item}", str(random.integers(1, 6)), str(10**9 + 3600 * place)
            lines += "\t".join(row) + "\n"
            csv += ",".join(row) + "\n"
    (folder / "f.inter").write_text(lines)
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    (folder / "f.item").write_text(
        header + "".join(f"SKU-{i}\tThing {i}\t1990\tDrama\n" for i in range(11))
    )
    (shop / "rated.csv").write_text(csv + "C0,SKU-1,,5\n")  # without a rating: no row
    columns = {"user": "who", "item": "what", "time": "when"}
    recipe = Recipe.named("ranking").of_tables(
        [str(shop / "rated.csv")], [str(shop / "products.csv")], columns=columns
    )
    assert recipe.name == "rated-ranking" and recipe.data.source == "tables"
    data, (folders, _) = read_data(recipe), movielens_ranking(folder, max_history=100)
    for part in ("train", "validation", "test"):
        rows, expected = getattr(data.splits, part), getattr(folders, part)
        np.testing.assert_array_equal(rows.users, expected.users)
        assert rows.features.keys() == expected.features.keys()
        for name, values in expected.features.items():
            np.testing.assert_array_equal(rows.features[name], values)
        for task, labels in expected.labels.items():
            np.testing.assert_array_equal(rows.labels[task], labels)
    facts, line = data.facts()
    assert "left out: 1 without a rating." in line and line.endswith(" are 4 or more: likes.")
    assert data.item_vectors is None and facts["users"] == 6
    data.save(tmp_path)
    kept = load_data(tmp_path, recipe)
    assert kept.rows_of_teacher.fingerprint() == facts["fingerprint"]
    strict = replace(recipe, data=replace(recipe.data, liked_from=5.0))
    liked = read_data(strict).splits.train.labels["like"]
    np.testing.assert_array_equal(liked, folders.train.labels["rating"] == 5)
    for liked_from, words in ((6, "below `data.liked_from` 6"), (0.5, "at least `data.liked_fr")):
        with pytest.raises(InputError, match=words):
            liking = replace(recipe, data=replace(recipe.data, liked_from=liked_from))
            make_tasks(liking, read_data(liking))
    with pytest.raises(InputError, match="also learns from low ratings"):
        recipe.of_tables([str(shop / "rated.csv")], min_rating=3)
    few = read_data(replace(recipe, data=replace(recipe.data, max_users=2)))
    assert len(few.vocabularies["user_id"]) == 2


def test_a_ranking_teacher_reads_texts_and_attributes_of_tables(shop):
    (shop / "priced.csv").write_text(PRICED)
    (shop / "rated.csv").write_text(RATED)
    tables = [str(shop / "rated.csv")], [str(shop / "priced.csv")]
    columns = {"user": "who", "item": "what", "attribute": "price"}
    named = Recipe.named("multitask")
    with pytest.raises(InputError, match="are of items that are not in the items table"):
        read_data(named.of_tables(*tables, columns=columns))
    (shop / "rated.csv").write_text(RATED.replace(",S", ",SKU-"))
    recipe = named.of_tables(*tables, columns=columns)
    assert recipe.name == "rated-multitask" and read_data(recipe).item_vectors.shape == (11, 1)
    privileged = replace(recipe.teacher, privileged=("text",))
    replace(recipe, teacher=privileged)
    with pytest.raises(InputError, match='or leave "text" out of `teacher.privileged`'):
        replace(
            recipe, teacher=privileged, data=replace(recipe.data, items=(), attribute_columns=())
        )
    with pytest.raises(InputError, match='reads rows of clothing-reviews only.*"tables"'):
        replace(recipe, teacher=replace(recipe.teacher, kind="bert-text", privileged=()))


def test_init_reads_the_tables_and_writes_a_recipe_with_their_columns(shop, capsys, monkeypatch):
    monkeypatch.chdir(shop)
    assert main(["init", "my shop.csv", "--items", "products.csv", "--to", "shop.toml"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "my-shop: 12 users, 11 items, 120 interactions" in output
    assert "user = 'customer', item = 'product', time = 'ts', id of the items = 'sku'" in output
    assert output.endswith("Run it: tfrs-distill run --recipe shop.toml")
    recipe = Recipe.load("shop.toml")
    assert recipe.name == "my-shop" and recipe.data.interactions == ("my shop.csv",)
    assert (recipe.data.user_column, recipe.data.title_column) == ("customer", "name")
    assert "# " in (shop / "shop.toml").read_text().splitlines()[0]
    assert main(["init", "my shop.csv", "--to", "shop.toml"]) == 2  # nothing is overwritten
    assert "shop.toml already exists" in capsys.readouterr().err
    assert main(["init", "products.csv", "--to", "other.toml"]) == 2
    assert "Which column of products.csv is the user?" in capsys.readouterr().err
    assert not (shop / "other.toml").exists()
