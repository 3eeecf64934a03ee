import errno
import json
import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from tfrs_distill import cli, pipeline
from tfrs_distill.cli.commands import recommend
from tfrs_distill.errors import InputError, MissingExtraError
from tfrs_distill.pipeline.recipe import Recipe
from tfrs_distill.pipeline.recipe.recipe import _built_in

ROOT = Path(__file__).parents[1]
REPORT = {
    "tasks": {"next_item": {"metric": "ndcg@10"}},
    "models": {
        name: {
            "metrics": {"next_item": {"ndcg@10": {"value": value, "interval": interval}}},
            "bytes": size,
        }
        for name, value, interval, size in (
            ("teacher", 0.2, [0.18, 0.22], 1000),
            ("student", 0.196, [0.17, 0.21], 50),
        )
    },
    "comparisons": {
        "student_vs_twin": {
            "next_item": {"metric": "ndcg@10", "interval": [0.004, 0.028], "ratio": 1.0889}
        },
        "student_vs_teacher": {"next_item": {"metric": "ndcg@10", "ratio": 0.98}},
    },
}


class Calls(list):
    """Recipe, folder and progress of each call, and the last call's number of processes."""


@pytest.fixture
def calls(monkeypatch):
    """The command line's calls of the pipeline, which is a fake that returns `REPORT`."""
    made = Calls()

    def run(recipe, out, progress, *, processes):
        made.append((recipe, out, progress))
        made.processes = processes
        progress.stage(1, 1, "data")
        progress.done("943 users", 1.0, reused=False)
        return REPORT

    fake_pipeline(monkeypatch, run)
    return made


def fake_pipeline(monkeypatch, run):
    monkeypatch.setattr(pipeline, "run", run)


def fails(monkeypatch, error):
    def run(recipe, out, progress, *, processes):
        raise error

    fake_pipeline(monkeypatch, run)


@pytest.fixture
def recommenders(monkeypatch):
    """Calls of `Recommender`; the result has titles that are hard to print."""
    requested = []
    item = types.SimpleNamespace

    class Recommender:
        @classmethod
        def load(cls, path, *, format=None):
            requested.append((path, format))
            return cls()

        def recommend(self, history, k=10, attributes=None):
            requested.append((history, k))
            return [
                item(item_id="7", title="[Rec] :cat: (2007)", score=1.5),
                item(item_id="x9", title="Amélie " + "long " * 20 + "end", score=-0.25),
            ]

    module = types.ModuleType("tfrs_distill.serving.recommender")
    module.Recommender = Recommender
    monkeypatch.setitem(sys.modules, "tfrs_distill.serving.recommender", module)
    return requested


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


# run


def test_run_without_options_is_the_default_recipe(calls, capsys):
    assert cli.main(["run"]) == 0
    ((recipe, out, _),) = calls
    assert recipe == Recipe.named("movielens-100k")
    assert out == Path("saved_models")
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[:2] == ["[1/1] data", "      + 943 users (1.0 s)"]
    assert any(line.split()[:3] == ["Teacher", "0.2000", "0.1800"] for line in lines)
    assert "The teacher helped: the student's NDCG@10 is 8.9 % above its twin's" in shown.out


@pytest.mark.parametrize(
    ("cores", "gpus", "options", "expected"),
    [
        (2, [], [], 2),
        (16, [], [], 2),
        (1, [], [], 1),
        (16, ["a GPU"], [], 1),
        (1, ["a GPU"], ["--processes", "3"], 3),
    ],
)
def test_a_run_has_two_processes_with_several_cores_and_no_gpu(
    calls, monkeypatch, cores, gpus, options, expected
):
    monkeypatch.setattr("tfrs_distill.pipeline.worker.num_cores", lambda: cores)
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: gpus)
    assert cli.main(["run", *options]) == 0
    assert calls.processes == expected


def test_run_options_reach_the_recipe(calls, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nseed = 1\n[student]\nembedding_dim = 4\n')
    out = tmp_path / "new" / "folder"
    options = ["--data-dir", "films", "--encoder", "a/bert", "--tuning", "lora"]
    options += ["--teacher", "item-item"]
    arguments = ["run", "--recipe", str(file), "--out", str(out), *options, "--seed", "9"]
    assert cli.main(arguments) == 0
    recipe, received_out, _ = calls[0]
    assert received_out == out
    assert (recipe.name, recipe.seed, recipe.student.embedding_dim) == ("mine", 9, 4)
    assert (recipe.data.folder, recipe.encoder.name) == ("films", "a/bert")
    assert (recipe.teacher.kind, recipe.tuning.method) == ("item-item", "lora")


def test_zero_is_a_value_and_not_a_missing_option(calls, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('seed = 5\n[tuning]\nmethod = "lora"\n')
    arguments = ["run", "--recipe", str(file), "--seed", "0", "--tuning", "none"]
    assert cli.main(arguments) == 0
    assert (calls[0][0].seed, calls[0][0].tuning.method) == (0, "none")


def test_quick_and_named_recipes(calls):
    assert cli.main(["run", "--recipe", "synthetic", "--quick", "--seed", "2"]) == 0
    recipe = calls[0][0]
    assert (recipe.name, recipe.data.source, recipe.seed) == ("synthetic-quick", "synthetic", 2)
    assert recipe.knowledge.folds == 2


def test_a_run_of_a_folder_has_the_name_of_its_data(calls, tmp_path):
    for name in ("ml-1m.inter", "ml-1m.item"):
        (tmp_path / name).touch()
    assert cli.main(["run", "--quick", "--data-dir", str(tmp_path)]) == 0
    assert calls[0][0].name == "ml-1m-quick"
    assert calls[0][0].data.folder == str(tmp_path)
    assert cli.main(["run", "--recipe", "movielens-1m", "--quick"]) == 0
    assert (calls[1][0].name, calls[1][0].data.source) == ("ml-1m-quick", "movielens-1m")


def test_run_prints_the_paths_of_report_and_artefact(calls, tmp_path, capsys):
    home = tmp_path / "[red]:cat:" / "ml-100k"  # neither markup nor an emoji
    (home / "1").mkdir(parents=True)
    (home / "report.html").touch()
    assert cli.main(["run", "--out", str(home.parent)]) == 0
    out = capsys.readouterr().out
    assert f"Report:  {home / 'report.html'}\n" in out
    assert f"tfrs-distill recommend {home / '1'} --history TITLE" in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--recipe", "movielens-100"], 'Did you mean "movielens-100k"?'),
        (["--recipe", "gone.toml"], "gone.toml: the recipe cannot be read: No such file"),
        (["--seed", "-1"], "`seed` must be a whole number of at least 0"),
        (["--tuning", "all"], '`tuning.method` must be one of "none", "top-layers"'),
        (["--teacher", "bert"], '`teacher.kind` must be one of "two-tower"'),
        (["--data-dir", ""], "--data-dir is empty"),
        (["--data-dir", "nowhere"], "The data folder nowhere does not exist."),
        (["--encoder", ""], "--encoder is empty"),
        (["--recipe", "synthetic", "--data-dir", "d"], "cannot be given with planted data"),
        (["--out", "setup.py"], "--out must be a folder. Received: setup.py, which is a file"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(calls, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(ROOT)
    assert cli.main(["run", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and words in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == "" and calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["walk"],
        ["run", "--sed", "1"],
        ["run", "--seed", "x"],
        ["recommend"],
        ["run", "--see=1"],
    ],
)
def test_wrong_usage_is_explained_with_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: tfrs-distill" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error, words",
    [
        (InputError("No folder d.\nGive one."), "error: No folder d. Give one.\n"),
        (
            MissingExtraError("tensorflow-datasets", "tfds", "Reading TFDS"),
            "error: Reading TFDS needs `tensorflow-datasets`, which is not installed. "
            'Install it with: pip install "tfrs-distill[tfds]"\n',
        ),
        (PermissionError(errno.EACCES, "no", "/x/y"), "error: No permission to use /x/y. Choose"),
    ],
)
def test_errors_of_the_pipeline_that_the_user_can_correct(monkeypatch, capsys, error, words):
    fails(monkeypatch, error)
    assert cli.main(["run"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(words)
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("ResourceExhausted: x.data; No space left on device [Op:SaveV2]"),
    ],
)
def test_a_full_disk_is_a_user_error_also_as_the_cause_of_another(monkeypatch, capsys, error):
    for failure in (error, RuntimeError("cannot save")):
        if failure is not error:
            failure.__cause__ = error
        fails(monkeypatch, failure)
        assert cli.main(["run"]) == 2
        assert capsys.readouterr().err == (
            "error: No space left on the disk; no incomplete file was kept. Free some space "
            "and run the same command again to resume.\n"
        )


@pytest.mark.parametrize("error", [ValueError("ours"), ImportError("ours"), OSError(5, "I/O")])
def test_internal_errors_keep_their_traceback(monkeypatch, error):
    fails(monkeypatch, error)
    with pytest.raises(type(error)) as caught:
        cli.main(["run"])
    assert caught.value is error


def test_an_interrupt_prints_how_to_resume(monkeypatch, capsys):
    fails(monkeypatch, KeyboardInterrupt())
    assert cli.main(["run"]) == 130
    assert "run the same command again to resume" in capsys.readouterr().err


def test_keras_3_is_an_error_with_the_first_line_to_write(calls, monkeypatch, capsys):
    tensorflow = types.ModuleType("tensorflow")
    model = type("Model", (), {"__module__": "keras.src.models.model"})
    tensorflow.keras = types.SimpleNamespace(Model=model)
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    assert cli.main(["run"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: tfrs_distill needs `tf.keras` to be Keras 2")
    assert 'os.environ["TF_USE_LEGACY_KERAS"] = "1"' in err
    assert calls == []


def test_tensorflow_is_quiet_by_default(calls, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    cli.main(["run"])
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    cli.main(["run"])
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_a_refused_search_prints_only_the_reason(tmp_path):
    arguments = ["--recipe", "synthetic", "--out", str(tmp_path / "out"), "--search", "seed=1,2"]
    result = python("-m", "tfrs_distill", "tune", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --search names a setting as SECTION.NAME. Received: 'seed'")
    assert not (tmp_path / "out").exists()


# recommend


def test_recommend_prints_a_table(recommenders, capsys):
    arguments = ["recommend", "models/1", "--history", "Toy Story", "--history", "Heat", "-k", "2"]
    assert cli.main(arguments) == 0
    assert recommenders == [("models/1", None), (["Toy Story", "Heat"], 2)]
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == ["Rank", "Title", "Id", "Score"]
    assert lines[2] == ["1", "[Rec]", ":cat:", "(2007)", "7", "1.500"]
    assert lines[3] == ["2", "Amélie", *["long"] * 20, "end", "x9", "-0.250"]


def test_recommend_prints_json(recommenders, capsys):
    assert cli.main(["recommend", "m.tflite", "--json", "--format", "tflite"]) == 0
    assert recommenders == [("m.tflite", "tflite"), ([], 10)]
    answer = json.loads(capsys.readouterr().out)
    assert answer[0] == {"rank": 1, "item_id": "7", "title": "[Rec] :cat: (2007)", "score": 1.5}
    assert [row["rank"] for row in answer] == [1, 2]


def test_recommend_without_an_artefact_is_a_user_error(tmp_path, capsys):
    assert cli.main(["recommend", str(tmp_path / "gone"), "--history", "Heat"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "gone" in err and err.count("\n") == 1


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    """Sixty items "i1" ... called "Film 1 (1991)" ...; the student and its expected output."""
    from planted_student import PlantedStudent, catalogue_of

    from tfrs_distill.export import export_artefact

    folder = tmp_path_factory.mktemp("saved_models") / "planted" / "1"
    return PlantedStudent(), export_artefact(PlantedStudent(), folder, catalogue_of(60), k=20)


@pytest.fixture(scope="module")
def reads_plans(tmp_path_factory):
    """An artefact whose student likes item 3 for users of plan "gold", and item 1 otherwise."""
    from planted_student import catalogue_of

    from tfrs_distill.data import AttributeVocabulary
    from tfrs_distill.export import to_tflite
    from tfrs_distill.models import RetrievalStudent

    known = AttributeVocabulary({"age": (18.0, 40.0), "plan": ("free", "gold")})
    student = RetrievalStudent.from_history(
        num_items=4, max_history=2, embedding_dim=2, user_attributes=known, seed=0
    )
    items, tower = student.candidate_tower, student.query_tower
    items.id_embeddings.assign([[0, 0], [0, 0], [0, 0], [0, 1], [0, 0]])
    items.biases.assign([0, 3, 2, 1, 0])
    tower.attribute_embeddings.assign([[0, 0], [0, 0], [0, 0], [0, 0], [0, 9]])
    tower.prior_items.assign(3.0)
    folder = tmp_path_factory.mktemp("saved_models") / "plans" / "1"
    return str(to_tflite(student, folder / "student.tflite", catalogue_of(4)).folder)


@pytest.mark.parametrize(
    ("arguments", "best", "note"),
    [
        (["--attribute", "plan=gold"], ["i3", "i1"], ""),
        (["--attribute", "plan=free", "--attribute", "age=25"], ["i1", "i2"], ""),
        ([], ["i1", "i2"], ""),
        (
            ["--attribute", "plan=silver"],
            ["i1", "i2"],
            "note: plan=silver is unknown; known values: free, gold\n",
        ),
    ],
)
def test_recommend_to_a_new_user_by_attributes(reads_plans, capsys, arguments, best, note):
    assert cli.main(["recommend", reads_plans, "-k", "2", "--json", *arguments]) == 0
    shown = capsys.readouterr()
    assert [item["item_id"] for item in json.loads(shown.out)] == best
    assert shown.err == note


def test_of_many_known_values_the_first_are_named(reads_plans, capsys, monkeypatch):
    monkeypatch.setattr(recommend, "SHOWN_VALUES", 1)
    assert cli.main(["recommend", reads_plans, "--attribute", "plan=silver"]) == 0
    assert capsys.readouterr().err.endswith("known values: free and 1 more\n")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("plan", "--attribute must be NAME=VALUE, once per name, such as age=25. Received: 'plan'"),
        ("plan=", "Received: 'plan='"),
        ("colour=red", "no user attribute 'colour'. Expected: age, plan."),
        ("age=old", "Attribute 'age' must be a number, or None if it is missing. Received"),
    ],
)
def test_invalid_attributes_are_one_line(reads_plans, capsys, given, words):
    assert cli.main(["recommend", reads_plans, "--attribute", given]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and words in shown.err
    assert shown.err.count("\n") == 1 and shown.out == ""
    twice = ["--attribute", "age=1", "--attribute", "age=2"]
    assert cli.main(["recommend", reads_plans, *twice]) == 2
    assert "once per name" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["", "student.tflite"])
def test_recommend_from_tflite_imports_no_tensorflow(artefact, part):
    from planted_student import expected

    student, written = artefact
    script = textwrap.dedent(f"""
        import sys
        from tfrs_distill.cli import main
        code = main(["recommend", {str(written.folder / part)!r}, "--history", "Film 3",
                     "--history", "i5", "-k", "4"])
        assert not {{"tensorflow", "tf_keras", "keras"}} & sys.modules.keys()
        sys.exit(code)
    """)
    result = python("-c", script)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    ids = [row[-2] for row in rows if row and row[0].isdigit()]
    assert ids == [f"i{item}" for item in expected(student, [3, 5], 4)[1]]


def test_recommend_from_a_saved_model_is_quiet_and_agrees(artefact):
    from planted_student import expected

    student, written = artefact
    arguments = ["--format", "saved_model", "--history", "i5", "--json", "-k", "3"]
    result = python("-m", "tfrs_distill", "recommend", str(written.folder), *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    ids = [row["item_id"] for row in json.loads(result.stdout)]
    assert ids == [f"i{item}" for item in expected(student, [5], 3)[1]]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--history", "Film 33333"], "Nearest titles: 'Film 33 (1993)'"),
        (["--history", "i5", "-k", "21"], "at most 20 items"),
        (["--history", "i5", "-k", "0"], "`k` must be a whole number of at least 1"),
        (["--attribute", "age=25"], "reads histories alone. Received: user attributes"),
    ],
)
def test_an_invalid_recommend_call_is_one_line(artefact, capsys, arguments, words):
    assert cli.main(["recommend", str(artefact[1].folder), *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and words in shown.err
    assert shown.err.count("\n") == 1 and shown.out == ""


# The process


def test_help_imports_nothing_heavy():
    heavy = ("tensorflow", "numpy", "rich", "transformers", "tf_keras", "keras")
    result = python(
        "-c",
        "import sys\n"
        "from tfrs_distill.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print('heavy:', [name for name in {heavy} if name in sys.modules])",
    )
    assert "--tuning" in result.stdout
    assert result.stdout.endswith("heavy: []\n"), result.stdout + result.stderr


def test_version_and_python_m():
    result = python("-m", "tfrs_distill", "--version")
    assert result.returncode == 0
    assert result.stdout.startswith("tfrs-distill 0.")


def test_an_exit_code_is_that_of_the_process():
    result = python("-m", "tfrs_distill", "run", "--recipe", "nothing")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_a_title_that_the_terminal_cannot_show_is_not_an_error():
    script = textwrap.dedent("""
        import sys, types
        from types import SimpleNamespace as item
        class Recommender:
            load = classmethod(lambda cls, path, format=None: cls())
            recommend = lambda self, history, k, attributes: [
                item(item_id="1", title="Am\\u00e9lie", score=1)
            ]
        sys.modules["tfrs_distill.serving.recommender"] = item(Recommender=Recommender)
        from tfrs_distill.cli import main
        sys.exit(main(["recommend", "a"]))
    """)
    result = python("-c", script, PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "Am?lie" in result.stdout


@pytest.mark.parametrize("rows, reader", [(9999, "head -n 1"), (1, "true")])
def test_a_closed_pipe_is_not_an_error(rows, reader):
    script = textwrap.dedent(f"""
        import sys, time
        from types import SimpleNamespace as item
        def recommend(self, history, k, attributes):
            time.sleep(1)  # `true` has left by now
            return [item(item_id="1", title="x" * 99, score=1)] * {rows}
        class Recommender:
            load = classmethod(lambda cls, path, format=None: cls())
        Recommender.recommend = recommend
        sys.modules["tfrs_distill.serving.recommender"] = item(Recommender=Recommender)
        from tfrs_distill.cli import main
        sys.exit(main(["recommend", "a", "--json"]))
    """)
    command = f"\"{sys.executable}\" -c '{script}' | {reader}; exit ${{PIPESTATUS[0]}}"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    result = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=buffered, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_help_names_every_built_in_recipe(capsys):
    for command in ("run", "tune", "evaluate"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        shown = capsys.readouterr().out
        assert all(name in shown for name in _built_in())
