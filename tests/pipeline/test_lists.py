"""Recommended lists of the same user side by side: the chosen users, and the marked items."""

import json

import numpy as np
import pytest
from made_runs import lists_of, values_of, write_run
from tiny_data import tiny_catalogue

from tfrs_distill.cli import main
from tfrs_distill.data.splits import Queries
from tfrs_distill.errors import InputError
from tfrs_distill.pipeline.report.compare import compare
from tfrs_distill.pipeline.report.lists import RecommendedLists, drawn_users


def two_users():
    queries = Queries(
        tiny_catalogue(300),
        [4, 1],
        (np.arange(1, 13), np.array([7])),
        (np.array([20, 300]), np.array([9])),
    )
    item_ids = {"student": np.array([[300, 5, 0], [1, 2, 9]]), "twin": np.array([[1, 2, 3]] * 2)}
    return queries, RecommendedLists.of(queries, ["u0", "ann", "u2", "u3", "u4"], item_ids)


def test_a_user_has_the_end_of_the_history_and_marked_hits():
    _, lists = two_users()
    row = lists.row("u4")
    assert row == 0
    assert lists.user(row) == {
        "user": "u4",
        "history": [f"Film {item}" for item in range(3, 13)],  # the latest 10
        "next": ["Film 20", "Film 300"],
    }
    assert lists.listed("student", row) == [
        {"title": "Film 300", "hit": True},
        {"title": "Film 5", "hit": False},
    ]
    assert lists.user(lists.row("ann"))["history"] == ["Film 7"]
    assert [item["hit"] for item in lists.listed("student", 1)] == [False, False, True]


def test_the_error_for_an_unknown_user_names_some_test_users():
    _, lists = two_users()
    with pytest.raises(InputError, match=r"User 'bob' is not among the 2 test users.*: u4, ann\."):
        lists.row("bob")


def test_the_file_is_small_and_read_unchanged(tmp_path):
    queries, lists = two_users()
    home = tmp_path / "run"
    (home / "stages" / "evaluate").mkdir(parents=True)
    lists.save(home / "stages" / "evaluate", queries.users)
    with np.load(home / "stages" / "evaluate" / "lists.npz") as arrays:
        assert {arrays[name].dtype for name in ("lists/student", "history", "positives")} == {
            np.dtype("uint16")
        }
    titles = [f"Film {item}" for item in range(1, 301)]
    tables = ["tiny", ["u0", "ann", "u2", "u3", "u4"]]
    tables.append({"item_ids": titles, "titles": titles, "texts": titles})
    (home / "stages" / "data").mkdir()
    (home / "stages" / "data" / "tables.json").write_text(json.dumps(tables))
    again = RecommendedLists.read(home)
    for row in (0, 1):
        assert again.user(row) == lists.user(row)
        assert again.listed("student", row) == lists.listed("student", row)
    (home / "stages" / "evaluate" / "lists.npz").unlink()
    with pytest.raises(InputError, match="has no recommended lists: .* earlier version"):
        RecommendedLists.read(home)


def test_a_report_draws_one_user_of_each_kind_and_counts_them():
    users = np.arange(40)
    lists = lists_of(0, users)
    student = np.zeros(40)
    student[:8], student[8:12] = 0.5, -0.5
    ndcg = {"student": student, "twin": np.zeros(40), "teacher": np.zeros(40)}
    result = [drawn_users(lists, ndcg, {"models": {}}, 10, seed) for seed in range(30)]
    assert result[0] == drawn_users(lists, ndcg, {"models": {}}, 10, 0)
    assert "above the twin's (20.0 % of the test users)" in result[0]["rule"]
    assert "equal to the twin's (70.0 %" in result[0]["rule"]
    assert "below the twin's (10.0 %" in result[0]["rule"]
    for place, kind in enumerate((range(8), range(12, 40), range(8, 12))):
        drawn = {int(one["users"][place]["user"][1:]) for one in result}
        assert drawn <= set(kind) and len(drawn) > 3  # any of them, not the best
    assert [one["of"] for one in result[0]["users"][0]["lists"]] == ["Teacher", "Student", "Twin"]
    level = drawn_users(lists, ndcg | {"twin": student}, {"models": {}}, 10, 0)
    assert len(level["users"]) == 1


def test_a_comparison_shows_the_users_with_the_largest_differences_both_ways(tmp_path):
    runs = [write_run(tmp_path / f"a-{seed}", seed) for seed in (1, 0)]
    of_seed_0 = values_of(0)
    gain = of_seed_0["student"] - of_seed_0["twin"]
    found = compare(runs, model="student", users=[]).lists
    assert [user["user"] for user in found["users"]] == [f"u{gain.argmax()}", f"u{gain.argmin()}"]
    words = "most between the student and its twin, one in each direction; lists of seed 0."
    assert words in found["rule"]
    shown = found["users"][0]["lists"]
    assert [one["of"] for one in shown] == ["Teacher", "Student", "Twin"]
    assert shown[1]["value"] == of_seed_0["student"][gain.argmax()]
    expected = lists_of(0, np.arange(40)).listed("student", int(gain.argmax()))
    assert shown[1]["items"] == expected


def test_between_settings_each_has_its_list_of_one_model(tmp_path):
    run = write_run(tmp_path / "a", 0)
    other = write_run(tmp_path / "b", 1, temperature=3.0)
    difference = values_of(1)["student"] - values_of(0)["student"]
    found = compare([run, other], model="student", users=[]).lists
    extremes = [f"u{difference.argmax()}", f"u{difference.argmin()}"]
    assert [user["user"] for user in found["users"]] == extremes
    assert "between the settings" in found["rule"] and "lists of seed 0, 1." in found["rule"]
    first, second = found["users"][0]["lists"]
    assert first["of"] == "a (distillation.temperature = 2.0)"
    of_second = lists_of(1, np.arange(40)).listed("student", int(difference.argmax()))
    assert second["items"] == of_second
    assert compare([run, other], model="student_int8", users=[]).lists is None
    with pytest.raises(
        InputError, match=r"no recommended lists of 'student_int8'\. .*: teacher, twin"
    ):
        compare([run, other], model="student_int8", users=["u1"])


def test_the_command_shows_the_given_users(tmp_path, capsys):
    run = write_run(tmp_path / "a", 0)
    assert main(["compare", str(run), "--user", "u7", "--user", "u3"]) == 0
    output = capsys.readouterr().out
    assert output.index("User u7") < output.index("User u3") and "User u1\n" not in output
    lists = lists_of(0, np.arange(40))
    for title in lists.user(7)["history"]:
        assert title in output
    hits = [
        item["title"]
        for user in (7, 3)
        for model in ("teacher", "student", "twin")
        for item in lists.listed(model, user)
        if item["hit"]
    ]
    assert hits and all(f"* {title}" in output for title in hits)
    assert main(["compare", str(run), "--user", "7"]) == 2
    assert "User '7' is not among the 40 test users" in capsys.readouterr().err


def test_of_several_settings_the_one_furthest_from_the_first_selects_the_users(tmp_path):
    runs = [
        write_run(tmp_path / name, seed, temperature=1.0 + seed) for seed, name in enumerate("abc")
    ]
    first, *others = (values_of(seed)["student"] for seed in range(3))
    far = np.concatenate([other - first for other in others])
    found = compare(runs, model="student", users=[]).lists
    expected = [f"u{far.argmax() % 40}", f"u{far.argmin() % 40}"]
    assert [user["user"] for user in found["users"]] == expected
    assert len(found["users"][0]["lists"]) == 3 and "the first setting and another" in found["rule"]
