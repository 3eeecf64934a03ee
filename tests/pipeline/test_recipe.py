import dataclasses
import re

import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.recipe import (
    MultitaskRecipe,
    RankingRecipe,
    Recipe,
    RetrievalRecipe,
    TwoStageRecipe,
)
from tfrs_distill.pipeline.recipe.sections import (
    CrossEncoderSettings,
    DataSettings,
    DistillationSettings,
    EncoderSettings,
    EvaluationSettings,
    ExportSettings,
    ItemTextsSettings,
    KnowledgeSettings,
    LabelsSettings,
    ListsSettings,
    RankingDataSettings,
    RankingKnowledgeSettings,
    RankingStudentSettings,
    RankingTeacherSettings,
    RetrievalDistillationSettings,
    RetrievalExportSettings,
    RetrievalStudentSettings,
    RetrievalTwinSettings,
    TeacherSettings,
    TrainingSettings,
    TransferSettings,
    TuningSettings,
    TwinSettings,
    TwoStageEvaluationSettings,
    WordsSettings,
)
from tfrs_distill.pipeline.recipe.settings import Rule

# No value is a default, and each differs from its neighbours.
UNUSUAL = RetrievalRecipe(
    name="films_2.0",
    seed=7,
    data=DataSettings(
        source="movielens-1m",
        folder='a "b" \\ c/ü',
        link_titles="ml-1m",
        max_users=31,
        max_history=33,
        split="global-time",
        ties="shuffled",
        train_share=0.45,
        exclude_seen=False,
        user_attributes=("gender", "age"),
    ),
    teacher=TeacherSettings(
        kind="ensemble",
        members=("array", "two-tower"),
        source='scores "a".npz',
        modalities=("knowledge-graph", "text"),
        embedding_dim=48,
        num_blocks=3,
        num_heads=4,
        label_smoothing=0.35,
        id_dropout=0.15,
        dropout=0.25,
        batch_size=16,
        learning_rate=2e-5,
        max_epochs=11,
        patience=6,
    ),
    encoder=EncoderSettings(
        name="some/bert",
        pooling="cls",
        max_length=99,
        long_texts="windows",
        output_key="pooled_output",
        preprocessor="some/preprocessor",
    ),
    tuning=TuningSettings(
        method="lora",
        layers=2,
        layer_decay=0.8,
        rank=4,
        width=17,
        length=3,
        steps=123,
        batch_size=5,
        num_negatives=77,
        learning_rate=0.0004,
        pretrain_steps=45,
    ),
    cross_encoder=CrossEncoderSettings(
        num_candidates=13,
        max_history_items=7,
        max_length=48,
        first_stage_weight=0.5,
        steps=71,
        batch_size=6,
        num_negatives=9,
        learning_rate=3e-5,
    ),
    knowledge=KnowledgeSettings(folds=5, top_k=37, form="top_k"),
    student=RetrievalStudentSettings(embedding_dim=12, num_heads=3),
    training=TrainingSettings(batch_size=24, max_epochs=55, patience=9, controls=("scrambled",)),
    twin=RetrievalTwinSettings(
        learning_rate=0.004, dropout=0.15, label_smoothing=0.4, weight_decay=0.01
    ),
    item_texts=ItemTextsSettings(
        read=False,
        num_common=99,
        piece_dim=9,
        max_pieces=17,
        id_dropout=0.45,
        dropout=0.05,
    ),
    distillation=RetrievalDistillationSettings(
        temperature=2.5,
        cold_items_weight=2.5,
        student_loss_weight=0.35,
        learning_rate=0.006,
        dropout=0.05,
        label_smoothing=0.1,
        weight_decay=0.02,
    ),
    export=RetrievalExportSettings(k=44, version=3, compress=("int4",)),
    evaluation=EvaluationSettings(k=20, bootstrap_samples=321),
)

# Settings of the other tasks that the retrieval recipe does not have.
UNUSUAL_REVIEWS = RankingRecipe(
    name="coats",
    data=RankingDataSettings(
        source="clothing-reviews",
        folder="reviews.csv",
        max_history=9,
        split="item",
        max_users=777,
        liked_from=3.5,
    ),
    teacher=RankingTeacherSettings(
        kind="ensemble", members=("bert-text", "python"), source="mine.py:teacher", privileged=()
    ),
    words=WordsSettings(min_count=3, max_words=44, num_bigram_buckets=0, embedding_dim=7),
    labels=LabelsSettings(
        tasks=("rating", "recommended"), rating_as="ordinal", balance="gradient-norm"
    ),
    twin=TwinSettings(learning_rate=0.004, dropout=0.15, label_smoothing=0.2, weight_decay=0.03),
    distillation=DistillationSettings(
        temperature=1.5,
        student_loss_weight=0.25,
        learning_rate=0.004,
        dropout=0.1,
        label_smoothing=0.2,
        weight_decay=0.03,
    ),
    export=ExportSettings(version=5, compress=("int4",)),
)
UNUSUAL_FILMS = MultitaskRecipe(
    name="likes",
    teacher=RankingTeacherSettings(
        privileged=("text", "user"),
        num_models=3,
        embedding_dim=24,
        num_cross_layers=5,
        hidden_dim=99,
        dropout=0.35,
        batch_size=77,
        learning_rate=0.003,
        max_epochs=12,
        patience=7,
    ),
    knowledge=RankingKnowledgeSettings(folds=6, by="user", unlabelled_per_row=3),
    student=RankingStudentSettings(embedding_dim=9, num_cross_layers=1, hidden_dim=21),
    labels=LabelsSettings(tasks=("rating", "like"), rating_as="regression"),
)
UNUSUAL_STAGES = TwoStageRecipe(
    name="stages",
    teacher=TeacherSettings(kind="cross-encoder"),
    knowledge=KnowledgeSettings(generated_per_window=3),
    lists=ListsSettings(
        num_candidates=60,
        list_size=11,
        num_lists=500,
        num_ordered_lists=90,
        max_history=21,
        num_neighbours=9,
        list_loss="pairwise",
    ),
    export=ExportSettings(version=4, compress=("units:8", "int4")),
    evaluation=TwoStageEvaluationSettings(k=15, bootstrap_samples=200, max_lists=55),
)
COLUMNS = {
    "user_column": "customer",
    "item_column": "product",
    "time_column": "ts",
    "rating_column": "stars",
    "id_column": "sku",
    "title_column": "called",
    "text_columns": ("colour", "size"),
    "attribute_columns": ("price",),
}
UNUSUAL_LOSS = RetrievalRecipe(
    name="loss",
    data=DataSettings(
        interactions=("orders.csv", "more.csv"),
        items=("products.csv",),
        **COLUMNS,
        users=("customers.csv",),
        group_columns=("country",),
        min_rating=3.5,
        disliked_below=4.0,
        weigh_by_rating=True,
    ),
    teacher=TeacherSettings(modalities=("text", "attributes")),
    twin=RetrievalTwinSettings(exclude_seen=True),
)
UNUSUAL_START = RetrievalRecipe(
    name="start",
    transfer=TransferSettings(
        run='films "1m"', same_items="ids", trains="adapters", adapter_rank=3
    ),
)
UNUSUAL_RATINGS = RankingRecipe(
    name="stars",
    data=RankingDataSettings(
        interactions=("orders.csv",),
        items=("products.csv",),
        **COLUMNS,
    ),
)
EVERY_TASK = (
    UNUSUAL_LOSS,
    UNUSUAL_START,
    UNUSUAL,
    UNUSUAL_RATINGS,
    UNUSUAL_REVIEWS,
    UNUSUAL_FILMS,
    UNUSUAL_STAGES,
)


def written(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path, text):
    """The error message after the file's name, with which it must begin."""
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        Recipe.from_toml(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)[len(str(path)) :]


def test_the_round_trip_keeps_every_value(tmp_path):
    again = Recipe.from_toml(written(tmp_path, UNUSUAL.to_toml()))
    assert again == UNUSUAL
    assert again.data.folder == 'a "b" \\ c/ü'
    assert again.teacher.learning_rate == 0.00002
    assert again.distillation.temperature == 2.5
    assert again.export.version == 3


def test_exclude_seen_of_the_twin_needs_exclude_seen_of_the_data(tmp_path):
    text = "[data]\nexclude_seen = false\n[twin]\nexclude_seen = true\n"
    assert "`twin.exclude_seen` excludes the items of the history" in refused(tmp_path, text)


@pytest.mark.parametrize("recipe", EVERY_TASK, ids=lambda recipe: recipe.name)
def test_the_round_trip_keeps_every_value_of_every_task(tmp_path, recipe):
    assert Recipe.from_toml(written(tmp_path, recipe.to_toml())) == recipe


def test_no_value_of_the_unusual_recipes_is_a_default():
    """Every key of every section has, in some recipe of these, another value than its default."""
    changed, every = set(), set()
    for recipe in EVERY_TASK:
        usual = type(recipe)()
        for part in dataclasses.fields(recipe):
            of_part, of_usual = getattr(recipe, part.name), getattr(usual, part.name)
            if dataclasses.is_dataclass(of_part):
                for key in dataclasses.fields(of_part):
                    name = (type(of_part).__name__, key.name)
                    every.add(name)
                    if getattr(of_part, key.name) != getattr(of_usual, key.name):
                        changed.add(name)
    assert every == changed


@pytest.mark.parametrize("recipe", EVERY_TASK, ids=lambda recipe: recipe.task)
def test_a_file_has_the_keys_of_its_task_each_with_its_meaning(recipe):
    lines = [line for line in recipe.to_toml().splitlines() if " = " in line]
    assert all(re.search(r"  # \S", line) for line in lines)
    values = [value for value in recipe.as_dict().values() if isinstance(value, dict)]
    assert len(lines) == 3 + sum(map(len, values))  # name, task and seed are before the sections


def test_the_keys_of_each_task():
    """By the sections: the differences between tasks."""
    by_task = {recipe.task: recipe.to_toml() for recipe in EVERY_TASK}
    for words in ("[tuning]", "[cross_encoder]", "\nmodalities = ", "\ntop_k = ", "\nk = 44"):
        assert words in by_task["retrieval"], words
        assert words not in by_task["ranking"] and words not in by_task["multitask"], words
    for words in ("[words]", "\nprivileged = ", "\nby = ", "\nrating_as = "):
        assert words in by_task["ranking"] and words in by_task["multitask"], words
        assert words not in by_task["retrieval"] and words not in by_task["two-stage"], words
    for words in ("\nnum_candidates = 60", "\nlist_loss = ", "\nmax_lists = 55"):
        assert words in by_task["two-stage"], words
        assert words not in by_task["ranking"] and words not in by_task["retrieval"], words
    assert "[cross_encoder]" in by_task["two-stage"]
    retrieval = RetrievalRecipe().to_toml()
    assert re.search(r"^folds = \d+ +  # folds of the users", retrieval, re.MULTILINE)


def test_an_empty_file_is_the_default_recipe(tmp_path):
    recipe = Recipe.from_toml(written(tmp_path, ""))
    assert recipe == RetrievalRecipe()
    assert (recipe.name, recipe.seed, recipe.data.source) == ("ml-100k", 0, "movielens-100k")


def test_a_file_contains_only_changed_values(tmp_path):
    recipe = Recipe.from_toml(written(tmp_path, "seed = 3\n[student]\nembedding_dim = 4\n"))
    assert recipe.seed == 3
    assert recipe.student.embedding_dim == 4
    assert recipe.teacher == TeacherSettings()


def test_a_whole_number_is_valid_for_a_float(tmp_path):
    recipe = Recipe.from_toml(written(tmp_path, "[distillation]\ntemperature = 2\n"))
    assert recipe.distillation.temperature == 2.0
    assert type(recipe.distillation.temperature) is float
    assert "temperature = 2.0" in recipe.to_toml()


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 4\r\n[export]\r\nk = 50\r\n")
    assert (Recipe.from_toml(path).seed, Recipe.from_toml(path).export.k) == (4, 50)


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "[techer]\n",
            r"`techer` is not a key of a recipe with .*retrieval\"\. Did you mean `teacher`\?",
        ),
        (
            "sed = 1\n",
            r"`sed` is not a key of a recipe with `task` \"retrieval\"\. Did you mean `seed`\?",
        ),
        (
            "[twin]\nlearning_rat = 0.1\n",
            r"`learning_rat` is not a key of \[twin\] of .*\. Did you mean `learning_rate`\?",
        ),
        (
            "[knowledge]\nzzz = 1\n",
            r"`zzz` is not a key of \[knowledge\] of .*\"retrieval\"\. Known: folds, top_k, form, "
            r"generated_per_window\.",
        ),
        ("teacher = 3\n", r"`teacher` must be a section, \[teacher\]\. Received: 3\."),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest(tmp_path, text, words):
    assert re.fullmatch(f": {words}", refused(tmp_path, text))


@pytest.mark.parametrize(
    "section, key, value, rule",
    [
        ("", "name", '"a/b"', "a folder name of letters"),
        ("", "name", '""', "a folder name of letters"),
        ("", "name", '"../up"', "a folder name of letters"),
        ("", "name", "3", "a folder name of letters"),
        ("", "seed", "-1", "a whole number of at least 0 and below 2147483648"),
        ("", "seed", "0.5", "a whole number"),
        ("", "seed", "true", "a whole number"),
        ("", "seed", '"0"', "a whole number"),
        ("data", "source", '"netflix"', 'one of "movielens-100k", "movielens-1m", "book-crossing"'),
        ("data", "split", '"dates"', 'one of "user-time", "leave-one-out", "global-time"'),
        ("data", "ties", '"whole"', 'one of "file-order", "shuffled"'),
        ("data", "folder", "7", "a text"),
        ("data", "max_history", "1", "a whole number of at least 2"),
        ("teacher", "kind", '"bert"', 'one of "two-tower", "cross-encoder", "item-item"'),
        ("teacher", "modalities", '["image"]', 'a list of different ones of "text", "attributes"'),
        ("teacher", "modalities", '["text", "text"]', "a list of different ones of"),
        ("teacher", "modalities", '"text"', "a list of different ones of"),
        ("teacher", "modalities", "[1]", "a list of different ones of"),
        ("encoder", "pooling", '"sum"', 'one of "auto", "mean", "cls", "max"'),
        ("encoder", "max_length", "-1", "a whole number of at least 0"),
        ("tuning", "method", '"all"', 'one of "none", "top-layers", "all-layers", "lora"'),
        ("tuning", "pretrain_steps", "-1", "a whole number of at least 0"),
        ("teacher", "dropout", "1.0", "a number of at least 0 and below 1"),
        ("teacher", "dropout", "-0.1", "a number of at least 0 and below 1"),
        ("teacher", "dropout", "nan", "a number of at least 0 and below 1"),
        ("teacher", "learning_rate", "0", "a number above 0 and at most 1"),
        ("teacher", "learning_rate", "1.01", "a number above 0 and at most 1"),
        ("teacher", "learning_rate", "false", "a number above 0 and at most 1"),
        ("teacher", "learning_rate", '"fast"', "a number above 0 and at most 1"),
        ("knowledge", "folds", "1", "a whole number of at least 2"),
        ("knowledge", "form", '"logits"', 'one of "auto", "embeddings", "top_k"'),
        ("student", "embedding_dim", "0", "a whole number of at least 1"),
        ("training", "max_epochs", "10.0", "a whole number of at least 1"),
        ("training", "patience", "[1]", "a whole number of at least 1"),
        ("distillation", "temperature", "0.0", "a number above 0 and at most 1000"),
        ("distillation", "temperature", "inf", "a number above 0 and at most 1000"),
        ("distillation", "student_loss_weight", "1.5", "a number of at least 0 and at most 1"),
        ("distillation", "student_loss_weight", "-nan", "a number of at least 0 and at most 1"),
        ("export", "version", "0", "a whole number of at least 1"),
        ("evaluation", "bootstrap_samples", "99", "a whole number of at least 100"),
    ],
)
def test_a_value_out_of_range_names_key_rule_and_value(tmp_path, section, key, value, rule):
    header = f"[{section}]\n" if section else ""
    words = refused(tmp_path, f"{header}{key} = {value}\n")
    full_key = f"{section}.{key}" if section else key
    shown = {"true": "True", "false": "False", "-nan": "nan"}.get(value, value.replace('"', "'"))
    assert words.startswith(f": `{full_key}` must be {rule}")
    assert f"Received: {shown}." in words


@pytest.mark.parametrize(
    "values",
    [
        {"teacher": TeacherSettings(dropout=0.0)},
        {"twin": TwinSettings(learning_rate=1.0)},
        {"distillation": DistillationSettings(student_loss_weight=0.0)},
        {"distillation": DistillationSettings(student_loss_weight=1.0)},
        {"evaluation": EvaluationSettings(k=100)},
        {"seed": 2**31 - 1},
    ],
)
def test_the_bounds_are_allowed(values):
    assert RetrievalRecipe(**values) == RetrievalRecipe(**values)


def test_a_recipe_made_in_python_has_the_same_rules():
    with pytest.raises(InputError, match=r"`training\.patience` must be a whole number of at le"):
        TrainingSettings(patience=0)
    with pytest.raises(InputError, match=r"`twin\.dropout` must be .* Received: nan"):
        TwinSettings(dropout=float("nan"))


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_too_large_for_a_float_is_refused(value):
    with pytest.raises(InputError, match=r"`distillation\.temperature` must be a number above 0"):
        DistillationSettings(temperature=value)


def test_fields_that_need_each_other(tmp_path):
    words = refused(tmp_path, "[teacher]\nembedding_dim = 10\nnum_heads = 4\n")
    assert "`teacher.embedding_dim` must be a multiple of `teacher.num_heads`" in words
    assert "embedding_dim=10, num_heads=4" in words
    words = refused(tmp_path, "[student]\nembedding_dim = 9\nnum_heads = 2\n")
    assert "`student.embedding_dim` must be a multiple of `student.num_heads`" in words
    assert "embedding_dim=9, num_heads=2" in words
    words = refused(tmp_path, '[teacher]\nkind = "ensemble"\nmembers = ["item-item"]\n')
    assert "`teacher.members` must name at least two kinds for an ensemble" in words
    for text in ('kind = "array"', 'source = "a.npz"', 'kind = "item-item"\nsource = "a.py:f"'):
        words = refused(tmp_path, f"[teacher]\n{text}\n")
        assert "`teacher.source` is required by the kinds array and python, and by no" in words
    words = refused(tmp_path, "[export]\nk = 5\n[evaluation]\nk = 10\n")
    assert "`export.k` must be at least `evaluation.k`" in words
    assert "export.k=5, evaluation.k=10" in words
    words = refused(tmp_path, '[data]\nsource = "synthetic"\nfolder = "here"\n')
    assert "`data.folder` (--data-dir) cannot be given with planted data" in words


@pytest.mark.parametrize(
    "text, line",
    [
        ("seed = 1\nname ml\n", 2),
        ("seed = 1\n\n[data\nfolder = ''\n", 3),
        ("seed = 1\nseed = 2\n", 2),
        ('seed = 1\nname = "unfinished', 2),
        ("seed = \n", 1),
    ],
)
def test_invalid_toml_names_file_and_line(tmp_path, text, line):
    assert refused(tmp_path, text).startswith(f", line {line}: not valid TOML: ")


def test_a_number_of_ten_thousand_digits_is_an_error_of_the_file(tmp_path):
    assert "not valid TOML" in refused(tmp_path, f"seed = {'9' * 10_000}\n")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.toml: the recipe cannot be read: No such file"):
        Recipe.from_toml(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match=r"the recipe cannot be read: Is a directory"):
        Recipe.from_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"\n')
    with pytest.raises(InputError, match=r"latin\.toml: a recipe is UTF-8 text; this file is not"):
        Recipe.from_toml(tmp_path / "latin.toml")


def test_built_in_recipes():
    assert Recipe.named("movielens-100k") == RetrievalRecipe()
    synthetic = Recipe.named("synthetic")
    assert (synthetic.name, synthetic.data.source) == ("synthetic", "synthetic")
    with pytest.raises(InputError, match=r"'movielens', which is neither\. Did you mean \"moviele"):
        Recipe.named("movielens")
    words = r'one of "movielens-100k", "movielens-1m", "book-crossing", "cold-items", "synthetic"'
    with pytest.raises(InputError, match=words):
        Recipe.named("x")


def test_a_split_of_cold_items_starts_from_its_recipe(tmp_path):
    built_in = Recipe.named("cold-items")
    assert built_in.item_texts.read and built_in.data.split == "cold-items"
    assert Recipe.from_toml(written(tmp_path, built_in.to_toml())) == built_in
    text = '[data]\nsplit = "cold-items"\n'
    assert Recipe.from_toml(written(tmp_path, text)) == built_in
    text += 'interactions = ["orders.csv"]\nitems = ["products.csv"]\n'
    recipe = Recipe.from_toml(written(tmp_path, text))
    assert (recipe.name, recipe.teacher) == ("orders-cold-items", built_in.teacher)
    text = '[data]\nsplit = "cold-items"\nsource = "movielens-1m"\n'
    assert Recipe.from_toml(written(tmp_path, text)).teacher == built_in.teacher


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[teacher]\nkind = "ensemble"', "a teacher that reads the item texts"),
        ("[teacher]\nmodalities = []", "a teacher that reads the item texts"),
        ('[training]\ncontrols = ["scrambled"]', 'Leave "scrambled" out'),
        ('[knowledge]\nform = "top_k"', "a separate softmax"),
        ("[knowledge]\nform = 'auto'\ngenerated_per_window = 1", "generated_per_window` to 0"),
        ("[item_texts]\nread = false", "item_texts.read=false. Set it to true"),
    ],
)
def test_cold_items_need_models_that_read_texts(tmp_path, text, words):
    assert words in refused(tmp_path, f'[data]\nsplit = "cold-items"\n{text}\n')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[knowledge]\nform = "embeddings"\n', 'Received: 1 with form="embeddings". Set'),
        ('[teacher]\nkind = "array"\nsource = "a.npz"\n[knowledge]\n', "cannot generate histories"),
    ],
)
def test_generated_histories_need_a_suitable_teacher_and_top_k(tmp_path, text, words):
    assert words in refused(tmp_path, f"{text}generated_per_window = 1\n")


def test_two_stages_use_item_ids_alone(tmp_path):
    text = 'task = "two-stage"\n[data]\nsplit = "cold-items"\n'
    assert "a second stage uses item ids" in refused(tmp_path, text)


def test_a_student_of_tables_without_items_reads_no_texts(tmp_path):
    text = '[data]\ninteractions = ["a.csv"]\n[teacher]\nmodalities = []\n'
    text += "[item_texts]\nread = true\n"
    assert "have no text for the student to read" in refused(tmp_path, text)


def test_movielens_1m_has_its_name_at_any_size(tmp_path):
    recipe = Recipe.named("movielens-1m")
    assert (recipe.name, recipe.data.source) == ("ml-1m", "movielens-1m")
    assert recipe.quick().name == "ml-1m-quick" and recipe.quick().quick() == recipe.quick()
    assert Recipe.from_toml(written(tmp_path, recipe.to_toml())) == recipe


def test_book_crossing_has_a_random_split(tmp_path):
    recipe = Recipe.named("book-crossing")
    assert (recipe.name, recipe.data.source) == ("book-crossing", "book-crossing")
    assert recipe.data.split == "random" and not recipe.data.reads_order
    quick = recipe.quick()
    assert quick.name == "book-crossing-quick" and quick.quick() == quick
    for written_out in (recipe, quick):
        assert Recipe.from_toml(written(tmp_path, written_out.to_toml())) == written_out
    text = '[data]\nsource = "book-crossing"\nsplit = "user-time"\n'
    assert 'has no timestamps: `data.split` must be "random"' in refused(tmp_path, text)
    shop = recipe.of_tables(["orders.csv"], ["products.csv"])
    assert (shop.name, shop.data.split) == ("orders", "random")


def test_two_stages_read_the_order_of_a_history(tmp_path):
    text = 'task = "two-stage"\n[data]\nsplit = "random"\n'
    assert "a second stage reads the order of the history" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "name, file, called",
    [
        ("movielens-100k", "ratings", "ratings"),
        ("movielens-1m", "ml-100k", "ml-100k"),
        ("movielens-100k", "my films, 2.0", "my-films-2.0"),
        ("movielens-100k", "..é", "data"),
        ("ranking", "ratings", "ranking"),
    ],
)
def test_a_run_of_a_folder_does_not_have_another_data_sets_name(tmp_path, name, file, called):
    for suffix in ("inter", "item"):
        (tmp_path / f"{file}.{suffix}").touch()
    recipe = Recipe.named(name)
    of_folder = recipe.of_folder(str(tmp_path))
    assert (of_folder.name, of_folder.data.folder) == (called, str(tmp_path))
    assert of_folder.quick().name == f"{called}-quick"
    assert recipe.quick().of_folder(str(tmp_path)).name == f"{called}-quick"
    mine = dataclasses.replace(recipe, name="mine").of_folder(str(tmp_path))
    assert mine.name == "mine"


def test_a_run_of_a_folder_of_grouplens_has_the_folders_name(tmp_path):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    for name in ("ratings.dat", "movies.dat"):
        (folder / name).touch()
    assert Recipe.named("movielens-100k").of_folder(str(folder)).quick().name == "ml-1m-quick"
    with pytest.raises(InputError, match="nowhere does not exist"):
        Recipe.named("movielens-100k").of_folder(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["ranking", "multitask", "two-stage", "reviews"])
def test_the_built_in_recipes_of_a_ranking_student_round_trip(tmp_path, name):
    recipe = Recipe.named(name)
    assert recipe.name == name
    assert recipe.task == {"reviews": "ranking"}.get(name, name)
    assert Recipe.from_toml(written(tmp_path, recipe.to_toml())) == recipe
    quick = recipe.quick()
    assert quick.name == f"{name}-quick" and quick.quick() == quick
    assert Recipe.from_toml(written(tmp_path, quick.to_toml())) == quick


@pytest.mark.parametrize(
    "text, like",
    [
        ('task = "ranking"\n', "ranking"),
        ('task = "multitask"\n', "multitask"),
        ('task = "two-stage"\n', "two-stage"),
        ('task = "ranking"\n[data]\nsource = "clothing-reviews"\n', "reviews"),
        ('task = "retrieval"\n', "movielens-100k"),
        ('[data]\nsource = "movielens-1m"\n', "movielens-1m"),
        ('[data]\nsource = "book-crossing"\n', "book-crossing"),
        ('[data]\nsource = "synthetic"\n', "synthetic"),
    ],
)
def test_omitted_values_are_those_of_the_built_in_recipe_of_the_task(tmp_path, text, like):
    assert Recipe.from_toml(written(tmp_path, text)) == Recipe.named(like)


def test_a_file_of_many_tasks_on_reviews_starts_from_the_reviews(tmp_path):
    text = 'task = "multitask"\n[data]\nsource = "clothing-reviews"\n'
    recipe = Recipe.from_toml(written(tmp_path, text))
    assert (recipe.task, recipe.teacher.kind) == ("multitask", "bert-text")
    assert recipe.name == "reviews-multitask"


@pytest.mark.parametrize(
    "text, like, name",
    [
        (
            '[data]\nsource = "movielens-1m"\nsplit = "cold-items"\n',
            "cold-items",
            "ml-1m-cold-items",
        ),
        ('task = "two-stage"\n[data]\nsource = "movielens-1m"\n', "two-stage", "ml-1m-two-stage"),
    ],
)
def test_other_data_have_a_folder_of_their_own(tmp_path, text, like, name):
    recipe, built_in = Recipe.from_toml(written(tmp_path, text)), Recipe.named(like)
    assert (recipe.name, recipe.teacher) == (name, built_in.teacher)


@pytest.mark.parametrize(
    "text, words",
    [
        (
            'task = "ranking"\n[tuning]\nmethod = "lora"\n',
            r'`tuning` is not a key of a recipe with `task` "ranking"\. ',
        ),
        ("[lists]\nlist_size = 5\n", r'`lists` is not a key of a recipe with `task` "retrieval"'),
        (
            'task = "two-stage"\n[labels]\nbalance = "uncertainty"\n',
            r'`labels` is not a key of a recipe with `task` "two-stage"\. ',
        ),
        (
            '[knowledge]\nby = "row"\n',
            r'`by` is not a key of \[knowledge\] of a recipe with `task` "retrieval"\. Known: ',
        ),
        ("[words]\nmax_words = 5\n", r"`words` is not a key of a recipe with"),
        (
            'task = "ranking"\n[teacher]\nkind = "two-tower"\n',
            r'`teacher\.kind` must be one of "deep-cross", "bert-text", "array", "python", "ens',
        ),
        (
            '[teacher]\nkind = "deep-cross"\n',
            r'`teacher\.kind` must be one of "two-tower", "cross-encoder", "item-item", "next-item',
        ),
        (
            'task = "ranking"\n[data]\nsource = "synthetic"\n',
            r'`data\.source` must be one of "movielens-100k", "clothing-reviews", "tables"\. Rec',
        ),
        (
            '[data]\nsource = "clothing-reviews"\n',
            r'`data\.source` must be one of "movielens-100k", "movielens-1m", "book-crossing", "s',
        ),
        (
            'task = "ranking"\n[labels]\ntasks = ["recommended"]\n',
            r'`labels\.tasks` of movielens-100k are "like", "rating", "next_item"\. Received: ',
        ),
        (
            'task = "multitask"\n[labels]\ntasks = ["like"]\n',
            r'`labels\.tasks` must name at least two tasks with `task` "mult.*; .* '
            r'Received: "like"',
        ),
        ('task = "ranking"\n[labels]\ntasks = []\n', r"`labels\.tasks` must name at least one"),
        (
            'task = "ranking"\n[teacher]\nkind = "bert-text"\n',
            r"A teacher of the kind bert-text reads rows of clothing-reviews only\. "
            r'Received: `data\.source` "movielens-100k"',
        ),
        (
            'task = "ranking"\n[data]\nsource = "clothing-reviews"\n[teacher]\nkind = "ensemble"\n'
            'members = ["bert-text", "deep-cross"]\n',
            r"A teacher of the kind deep-cross reads rows of movielens-100k and tables only",
        ),
        (
            'task = "ranking"\n[words]\nmax_words = 5\n',
            r'`words` applies to clothing-reviews.* Received: `data\.source` "movielens-100k"',
        ),
        (
            'task = "ranking"\n[data]\nsplit = "item"\n',
            r"`data\.split` applies to clothing reviews",
        ),
        (
            'task = "ranking"\n[data]\nsource = "clothing-reviews"\n[teacher]\n'
            'privileged = ["user"]\n',
            r'`teacher\.privileged` is read by the kind deep-cross only\. Received: "user"',
        ),
        (
            'task = "ranking"\n[labels]\ntasks = ["next_item"]\n',
            r"`knowledge\.unlabelled_per_row` replaces .*per_row=1 .*tasks` "
            r'"next_item"\. Set it to 0',
        ),
        (
            'task = "ranking"\n[data]\nsource = "clothing-reviews"\n[knowledge]\n'
            "unlabelled_per_row = 2\n",
            r".*per_row=2 with `data\.source` \"clothing-reviews\"",
        ),
        (
            'task = "two-stage"\n[lists]\nnum_candidates = 9\nlist_size = 4\n',
            r"`lists\.num_candidates` must be at least `evaluation.k`\. .*num_candidates=9, eval",
        ),
        (
            'task = "two-stage"\n[lists]\nnum_candidates = 20\n',
            r"`lists\.num_candidates` must be at least `lists.list_size`\. .*list_size=50",
        ),
        (
            'task = "two-stage"\n[export]\nk = 50\n',
            r'`k` is not a key of \[export\] of a recipe with `task` "two-stage"\. Known: version',
        ),
        (
            'task = "two-stage"\n[lists]\nnum_lists = 20\nnum_ordered_lists = 21\n',
            r"`lists\.num_ordered_lists` must be at most .* num_ordered_lists=21, num_lists=20",
        ),
        ('task = "rating"\n', r'`task` must be one of "retrieval", "ranking", "multitask", "two-'),
        ("task = 3\n", r"`task` must be one of"),
        ('task = ["ranking"]\n', r"`task` must be one of"),
    ],
)
def test_incompatible_parts_are_refused(tmp_path, text, words):
    assert re.match(f": {words}", refused(tmp_path, text))


def test_load_takes_a_name_or_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Recipe.load("synthetic") == Recipe.named("synthetic")
    (tmp_path / "mine").write_text("seed = 5\n")
    assert Recipe.load("mine").seed == 5
    (tmp_path / "synthetic").mkdir()  # a folder of an earlier run does not hide the recipe
    assert Recipe.load("synthetic").name == "synthetic"
    with pytest.raises(InputError, match=r"gone\.toml: the recipe cannot be read: No such file"):
        Recipe.load("gone.toml")
    with pytest.raises(InputError, match=r"Received: 'gone', which is neither"):
        Recipe.load("gone")


def test_quick_is_smaller_with_another_name_and_idempotent():
    quick = UNUSUAL.quick()
    assert quick.name == "films_2.0-quick"
    assert quick.knowledge.folds < UNUSUAL.knowledge.folds
    assert quick.teacher.max_epochs < UNUSUAL.teacher.max_epochs
    assert quick.tuning.steps < UNUSUAL.tuning.steps
    assert quick.tuning.pretrain_steps < UNUSUAL.tuning.pretrain_steps
    assert quick.cross_encoder.steps < UNUSUAL.cross_encoder.steps
    assert quick.training.max_epochs < UNUSUAL.training.max_epochs
    assert quick.evaluation.bootstrap_samples < UNUSUAL.evaluation.bootstrap_samples
    assert (quick.seed, quick.data, quick.student) == (7, UNUSUAL.data, UNUSUAL.student)
    assert UNUSUAL.data.max_users == 31  # fewer than a quick run reads
    films = Recipe.named("movielens-1m")
    assert films.data.max_users == 0 < films.quick().data.max_users < 6040 / 10
    assert RetrievalRecipe().quick().data.max_users >= 943  # all of MovieLens-100K's
    assert quick.quick() == quick


def test_quick_never_makes_a_small_recipe_larger():
    small = RetrievalRecipe(
        teacher=TeacherSettings(max_epochs=1),
        tuning=TuningSettings(steps=5),
        cross_encoder=CrossEncoderSettings(steps=4),
        knowledge=KnowledgeSettings(folds=2),
        training=TrainingSettings(max_epochs=2),
        evaluation=EvaluationSettings(bootstrap_samples=100),
    )
    quick = small.quick()
    assert (quick.teacher.max_epochs, quick.training.max_epochs) == (1, 2)
    assert (quick.tuning.steps, quick.tuning.pretrain_steps) == (5, 0)
    assert quick.cross_encoder.steps == 4
    assert (quick.knowledge.folds, quick.evaluation.bootstrap_samples) == (2, 100)


def test_quick_reviews_are_few_and_short_and_quick_lists_are_few():
    reviews, quick = Recipe.named("reviews"), Recipe.named("reviews").quick()
    assert reviews.data.max_users == 0 < quick.data.max_users < 23_486 / 10
    assert quick.encoder.max_length < reviews.encoder.max_length
    few = dataclasses.replace(
        reviews,
        data=dataclasses.replace(reviews.data, max_users=60),
        encoder=dataclasses.replace(reviews.encoder, max_length=16),
    ).quick()
    assert (few.data.max_users, few.encoder.max_length) == (60, 16)
    ratings = Recipe.named("ranking")
    assert ratings.data.max_users == 0 < ratings.quick().data.max_users < 943 / 3
    assert ratings.teacher.num_models > ratings.quick().teacher.num_models == 2
    assert UNUSUAL_REVIEWS.quick().teacher.num_models == 1
    stages, quick = Recipe.named("two-stage"), Recipe.named("two-stage").quick()
    for key in ("num_candidates", "num_lists", "num_ordered_lists"):
        assert getattr(quick.lists, key) < getattr(stages.lists, key), key
    assert stages.evaluation.max_lists == 0 < quick.evaluation.max_lists
    assert quick.cross_encoder.steps < stages.cross_encoder.steps
    tiny = UNUSUAL_STAGES.quick()
    assert tiny.lists.list_size == 11 and tiny.lists.num_ordered_lists == 90
    assert tiny.evaluation.max_lists == 55


def test_as_dict_is_plain():
    values = UNUSUAL.as_dict()
    assert values["teacher"]["num_heads"] == 4
    assert values["name"] == "films_2.0"


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_rule_without_bounds_needs_a_finite_number(value):
    assert not Rule(float, "any number").holds(value)
    assert Rule(float, "any number").holds(-1e300)


def test_an_encoders_length_is_the_folders_or_long_enough_for_a_text():
    assert EncoderSettings().max_length == EncoderSettings(max_length=0).max_length == 0
    assert EncoderSettings(max_length=8).max_length == 8
    with pytest.raises(InputError, match="`encoder.max_length` must be 0, .* or at least 8.*: 7"):
        EncoderSettings(max_length=7)
    reviews = Recipe.named("reviews")
    unsaid = dataclasses.replace(reviews, encoder=EncoderSettings()).quick()
    assert unsaid.encoder.max_length == reviews.quick().encoder.max_length > 0
