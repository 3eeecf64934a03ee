"""The report of every recipe: the terminal's table, the page, and both files on disk."""

import copy
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from made_reports import (
    RANKING,
    REPORTS,
    RETRIEVAL,
    changed,
    figure,
    form,
    of_items,
    stages,
    without,
)
from rich.console import Console

from tfrs_distill.pipeline.report import html_page, numbers, terminal_table, verdict, write_report
from tfrs_distill.pipeline.report.models import metric_of, rows
from tfrs_distill.pipeline.report.table import columns

# Numbers


@pytest.mark.parametrize(
    "show, value, text",
    [
        (numbers.size, 0, "0 B"),
        (numbers.size, 999, "999 B"),
        (numbers.size, 1000, "1.00 kB"),
        (numbers.size, 12_345, "12.3 kB"),
        (numbers.size, 999_949, "1.00 MB"),
        (numbers.size, 92_300_000, "92.3 MB"),
        (numbers.size, 2_512_000_000, "2.51 GB"),
        (numbers.milliseconds, 0.0634, "63.4 µs"),
        (numbers.milliseconds, 0.9996, "1.00 ms"),
        (numbers.milliseconds, 1.2, "1.20 ms"),
        (numbers.milliseconds, 123.4, "123 ms"),
        (numbers.milliseconds, 1500, "1.50 s"),
        (numbers.milliseconds, 0, "0 ms"),
        (numbers.duration, 0.04, "0.0 s"),
        (numbers.duration, 9.94, "9.9 s"),
        (numbers.duration, 9.96, "10 s"),
        (numbers.duration, 59.6, "1 min 0 s"),
        (numbers.duration, 75.4, "1 min 15 s"),
        (numbers.duration, 3725, "1 h 2 min"),
        (numbers.percent, 0.981, "98.1 %"),
        (numbers.percent, 1, "100.0 %"),
        (numbers.percent, 0, "0.0 %"),
        (numbers.percent, 0.00069, "0.069 %"),
        (numbers.percent, 0.007, "0.7 %"),
        (numbers.percent, 0.0096, "1.0 %"),
        (numbers.count, 22_700_000, "22,700,000"),
        (numbers.metric, 0.16342, "0.1634"),
        (numbers.metric, -0.00004, "-0.0000"),
        (numbers.metric, np.float32(0.5), "0.5000"),
    ],
)
def test_numbers_are_formatted_for_readers(show, value, text):
    assert show(value) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "text", [1.0], {}])
@pytest.mark.parametrize("show", ["size", "milliseconds", "duration", "percent", "count", "metric"])
def test_a_missing_value_is_a_dash(show, value):
    assert getattr(numbers, show)(value) == "-"


# Terminal


def printed(report, width):
    console = Console(width=width, color_system=None, record=True, file=open("/dev/null", "w"))
    console.print(terminal_table(report, width))
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def cells(line):
    return re.split(r"\s{2,}", line.strip())


def test_the_terminal_table_has_a_line_per_model_in_a_fixed_order():
    report = changed("models/student/metrics/next_item/coverage@10", figure(0.5))
    report["models"]["twin"]["metrics"]["next_item"] |= {
        "mrr@10": figure(0.3),
        "overlap@10": figure(0.25),
    }
    lines = printed(report, 160)
    assert cells(lines[0]) == [
        "Model",
        "NDCG@10",
        "95 % interval",
        "Recall@10",
        "Coverage@10",
        "MRR@10",
        "Overlap@10",
        "Parameters",
        "Size",
        "p50",
        "p95",
    ]
    names = [cells(line)[0] for line in lines[2:]]
    assert names == ["Teacher", "Student", "Student, int8", "Twin", "Popularity"]
    student = cells(lines[3])
    assert student[1:6] == ["0.1960", "0.1760 to 0.2160", "0.0980", "50.0 %", "-"]
    assert student[7:9] == ["15,146", "60.0 kB"]


def test_the_table_has_a_block_per_task_with_the_leading_metric_first():
    lines = printed(RANKING, 160)
    like = next(line for line in lines if line.strip().startswith("like"))
    rating = next(line for line in lines if line.strip().startswith("rating"))
    assert cells(like)[:4] == ["like", "AUC", "95 % interval", "Log loss"]
    assert cells(rating)[:4] == ["rating", "RMSE", "95 % interval", "MAE"]
    student = [line for line in lines if line.strip().startswith("Student ")]
    assert cells(student[0])[:3] == ["Student", "0.7900", "0.7800 to 0.8000"]
    assert cells(student[1])[:3] == ["Student", "0.9300", "0.9200 to 0.9400"]


@pytest.mark.parametrize("width", [42, 54, 66, 78, 80, 92, 104, 116, 126, 136])
def test_the_table_fits_its_terminal_with_a_line_per_model(width):
    models = {key: dict(RETRIEVAL["models"]["teacher"]) for key in ("teacher", "saved_model")}
    models["saved_model"] |= form("SavedModel")
    for result in models.values():
        result["latency_ms"] = {"p50": 1.234, "p95": 999.0}
    lines = printed({**RETRIEVAL, "models": models}, width)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert "Student, SavedModel" in lines[3] and "92.3 MB" not in lines[3]
    assert "90.0 MB" in lines[3]


@pytest.mark.parametrize("width", [46, 60, 72, 84, 100, 120, 160])
def test_a_line_per_model_at_any_width(width):
    lines = printed(RANKING, width)
    assert max(map(len, lines)) <= width
    assert len(lines) == 2 * 2 + 6 + 3  # two headings with rules; like has six models, rating three


def test_a_wider_terminal_shows_at_least_as_many_columns():
    shown = [cells(printed(RETRIEVAL, width)[0]) for width in range(42, 130)]
    assert all(set(few) <= set(many) for few, many in zip(shown, shown[1:]))
    assert shown[0] == ["Model", "NDCG@10", "Size"] and len(shown[-1]) == 8
    firsts = list(dict.fromkeys(heading for headings in shown for heading in headings))
    assert firsts == [
        *("Model", "NDCG@10", "Size"),
        *("p50", "95 % interval", "Recall@10", "p95", "Parameters"),
    ]


def test_an_unknown_model_is_shown_last_and_as_text():
    lines = printed(changed("models/[red]mine", of_items(0.1, 0.0, 0.2)), 100)
    assert lines[-1].strip().startswith("[red]mine")


def test_models_are_in_order_and_only_those_of_the_task():
    names = [row.key for row in rows(RANKING, "like")]
    assert names == ["teacher", "student", "student_int8", "twin", "item_mean", "twin_of_like"]
    assert [row.key for row in rows(RANKING, "rating")] == ["teacher", "student", "twin"]
    assert rows(RANKING, "like")[-1].name == "Twin of like"


def test_a_metric_of_one_model_is_a_column():
    headings = [column.heading for column in columns(RANKING, "like")]
    assert headings[:4] == ["AUC", "95 % interval", "Log loss", "ECE"]
    assert headings[-4:] == ["Parameters", "Size", "p50", "p95"]


def test_metrics_have_readable_names():
    assert metric_of("gauc").name == "GAUC" and metric_of("ndcg@10").name == "NDCG@10"
    assert metric_of("hit_rate@10").name == "Hit rate@10"
    assert not metric_of("f1").lower_is_better and metric_of("rmse").lower_is_better


# Page


class Tags(HTMLParser):
    """Collects the tags, their attributes and the text; checks that every tag is closed."""

    VOID = {"meta"}

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def well_formed(page):
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    return parser


def words_of(report):
    return re.sub(r"\s+", " ", " ".join(well_formed(html_page(report)).text))


@pytest.mark.parametrize(
    "recipe, expected",
    [
        (
            "retrieval",
            [
                "The teacher helped: the student's NDCG@10 is 8.9 % above its twin's",
                "943 users · 1,682 items · 100,000 interactions · seed 3",
                "Share of the teacher's 98.0 % NDCG@10, same users",
                "24.6 kB 3,659× smaller than the teacher",  # 90,000,000 / 24,600 = 3,658.5
                "Latency per query, int8 63.4 µs p50; p95: 100 µs",
                "The models, side by side The items that come next. NDCG@10: higher is better.",
                "Charts Training: validation NDCG@10 by epoch",
                "best 0.2500, epoch 2",
                "Quality by segment NDCG@10 with its 95 % interval. all: all queries. Fewer "
                "than 100 queries, so the intervals are too narrow: gender: M.",
                "Segment Queries Twin Student Student - Twin better / worse Student: group - other",
                "all 943 0.1800 (0.1700 to 0.1900) 0.1960 (0.1860 to 0.2060) 0.0160 (0.0040 to "
                "0.0280) 31.0 % / 25.0 % - gender: F 273",
                "-0.0100 (0.0040 to 0.0280) 31.0 % / 25.0 % -0.0500 (-0.0800 to -0.0200)",
                "The teachers compared",
                "Every model ranked the whole catalogue.",
                "The twin is the student without its teacher: same model, same data; each uses",
                "compared over 3 seeds (0, 1, 2)",
                "by bootstrap over test users (250 resamples)",
                "student - twin NDCG@10 0.0160 (0.0040 to 0.0280), 108.9 %",
                "student - teacher 98.0 %",
                "teacher 1 min 1 s",
                "sum; stages may overlap 1 min 3 s",
                "tensorflow 2.21.0",
                "bootstrap_samples = 250",
            ],
        ),
        (
            "ranking",
            [
                "The teacher helped: the student's AUC of like is 0.0400 above its twin's",
                "943 users · 1,682 items · 100,000 rows · seed 4",
                "Student's AUC 0.7900 95 %: 0.7800 to 0.8000",
                "Share of the teacher's 90.0 % gain over the item mean, same users",
                "12.5 kB 160× smaller than the teacher",  # 2,000,000 / 12,500
                "Latency per row, int8 31.0 µs p50; p95: 50.0 µs",
                "Like A rating of 4 or 5. AUC: higher is better.",
                "Rating The rating, 1 to 5. RMSE: lower is better.",
                "Student ECE 0.0345",
                "Student: predicted 25.0 %, observed 50.0 % of 1,200 rows",
                "Training Training: validation score by epoch The mean over the tasks; the epoch",
                "best 0.4500, epoch 2",
                "Confusion matrix of the student, at 0.5 true predicted: not like predicted: like "
                "not like "
                "30 75.0 % 10 25.0 % like 5 3.1 % 155 96.9 %",
                "Ratings stand in order of time. All model choices were made on validation.",
                "(250 resamples)",
                "over one seed (4): a claim needs three",
                "student - twin, rating RMSE -0.0200 (-0.0300 to -0.0100)",
                "sum; stages may overlap 1 min 2 s",
                "tensorflow 2.21.0",
                "bootstrap_samples = 250",
            ],
        ),
        (
            "reviews",
            [
                "The teacher helped: the student's AUC is 0.0400 above its twin's",
                "Only 9 test rows: bootstrap intervals over so few are too narrow",
                "50 items · 90 rows · seed 4",
                "gain over the item mean, same rows",
                "The models, side by side A rating of 4 or 5.",
                "Charts",
                "predicted: not recommended",
                "by bootstrap over test rows",
            ],
        ),
        (
            "multitask",
            [
                "All tasks in one student Significantly worse than its single-task twin: rating.",
                "Above is better, except for RMSE, MAE, Log loss and ECE.",
                "like AUC 0.0300 above that twin's",
                "Twin of like this task alone",
                "student - single task twin, like AUC 0.0300 (0.0200 to 0.0400)",
            ],
        ),
        (
            "two-stage",
            [
                "The teacher helped: the student's NDCG@10 is 5.0 % above its twin's",
                "Share of the teacher's 85.0 % NDCG@10, same users",
                "Latency per query 1.50 ms",
                "Cross-encoder",
                "Retrieval alone",
                "Two stages retrieval, then ranking",
                "student - cross encoder NDCG@10 -0.0300 (-0.0500 to -0.0100), 88.0 %",
            ],
        ),
    ],
)
def test_the_page_has_the_expected_text(recipe, expected):
    text = words_of(REPORTS[recipe])
    for words in expected:
        assert words in text, words


def test_a_section_is_shown_if_the_report_has_its_content():
    retrieval, ranking = words_of(REPORTS["retrieval"]), words_of(REPORTS["ranking"])
    assert "The teachers compared" not in ranking and "Charts" not in ranking
    for heading in ("All tasks in one student", "Confusion matrix", "Reliability: observed"):
        assert heading not in retrieval
    assert "single-task" not in ranking
    assert "Confusion matrix" not in words_of(without("confusion"))
    assert "Reliability" not in words_of(without("reliability"))


def test_a_class_without_rows_has_no_share():
    text = words_of(changed("confusion/like/student", [[0, 0], [1, 3]], RANKING))
    assert "not like 0 0 like 1 25.0 % 3 75.0 %" in text


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_the_page_loads_nothing_external(report):
    page = html_page(report)
    names = {name for name, _ in well_formed(page).attributes}
    assert not names & {"src", "href", "srcset", "xlink:href", "onload", "onclick"}
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|<iframe", page)
    assert "prefers-color-scheme: dark" in page
    assert '<meta name="viewport" content="width=device-width' in page


@pytest.mark.parametrize(
    "report",
    [
        changed("training", {}),
        changed("training/student/validation_ndcg@10", [None, None]),
        changed("training/student/validation_ndcg@10", [0.1]),
        changed("training/student/validation_ndcg@10", [0.0, 0.0, 0.0]),
        changed("training/student/validation_ndcg@10", [math.nan, 0.1]),
        changed("models", {"student": of_items(0.1, None, None)}),
        changed("models", {"student": of_items(0.0, None, None, bytes=100)}),
        changed("models", {"student": {"metrics": {"next_item": {}}, "bytes": 100}}),
        changed("models", {"student": {"metrics": {"next_item": {"ndcg@10": figure(None)}}}}),
        changed("models", {}),
        changed("comparisons", {}),
        changed("stages", {}),
        changed("teachers", None),
        changed("segments", None),
        changed("segments/comparisons", []),
        changed("segments/models/student/all/value", None),
        without("training"),
        without("confusion"),
        without("reliability"),
        without("comparisons"),
        without("comparisons/student_vs_twin/like/interval"),
        without("models/student_int8"),
        without("models/teacher"),
        without("models/student/bytes"),
        without("data"),
        without("stages"),
        without("protocol"),
        without("resampled"),
        without("models/retrieval", stages()),
        {"name": "n", "tasks": {}, "models": {}},
        {"name": "n", "tasks": {"like": {"metric": "auc"}}, "models": {}},
    ],
)
def test_a_report_with_gaps_is_still_a_page(report):
    page = html_page(report)
    assert "nan" not in page.lower() and "None" not in page
    well_formed(page)
    terminal_table(report)
    verdict(report)


EVIL = '<script>alert("1")</script>&\'"'
KEYS = ("models", "training", "stages", "versions", "data", "comparisons", "recipe", "tasks")


def hostile(value, path=()):
    """The report with every text replaced, and every key that a run or a user can choose."""
    if isinstance(value, str):
        return value if path[-1:] == ("metric",) else f"{EVIL}{value}"
    if isinstance(value, list):
        return [hostile(inner, path) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {key: hostile(inner, (*path, key)) for key, inner in value.items()}
    if path and path[-1] in KEYS:
        *_, last = found.values()
        found[EVIL] = copy.deepcopy(last)
    return found


@pytest.mark.parametrize("recipe", REPORTS)
def test_hostile_text_in_every_field_is_escaped(recipe):
    report = hostile(REPORTS[recipe])
    for part in ("reliability", "confusion"):
        for task in list(report.get(part, {})):
            report[part][EVIL] = report[part][task]
    for result in report["models"].values():
        *_, last = result["metrics"]
        result["metrics"] |= {EVIL: result["metrics"][last] | {EVIL: figure(0.5)}}
    for by_task in report["comparisons"].values():
        *_, last = by_task.values()
        by_task[EVIL] = last
    page = html_page(report)
    parser = well_formed(page)
    assert "<script" not in page
    assert not {name for name, _ in parser.attributes if name.startswith("on")}
    places = sum(EVIL in text for text in parser.text)
    assert places >= 30, places
    assert any(name == "class" and value == EVIL for name, value in parser.attributes)
    fields = {
        "name": f"{EVIL}films",
        "protocol": f"{EVIL}{REPORTS[recipe]['protocol']['models']}",
        "twin": f"{EVIL}{REPORTS[recipe]['protocol']['twin']}",
        "rows_are": f"Latency per {EVIL}{REPORTS[recipe]['rows_are']}",
        "what": f"{EVIL}{next(iter(REPORTS[recipe]['tasks'].values()))['what']}",
        "resampled": f"over {EVIL}{REPORTS[recipe]['resampled']['what']}",
        "version": f"{EVIL}2.21.0",
    }
    text = " ".join(parser.text)
    assert [field for field, words in fields.items() if words not in text] == []
    if recipe == "retrieval":
        assert f"{EVIL}popular items" in text


def test_an_evil_name_in_the_terminal_is_text():
    lines = printed(changed("models/[bold]:cat:", of_items(0.1, 0.0, 0.2)), 100)
    assert "[bold]:cat:" in lines[-1]


# On disk


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_both_files_are_written_and_json_is_the_report(report, tmp_path):
    json_path, html_path = write_report(report, tmp_path / "out")
    assert json_path == tmp_path / "out" / "report.json"
    assert html_path == tmp_path / "out" / "report.html"
    assert json.loads(json_path.read_text(encoding="utf-8")) == report
    assert html_path.read_text(encoding="utf-8") == html_page(report)
    assert sorted(path.name for path in json_path.parent.iterdir()) == [
        "report.html",
        "report.json",
    ]


def test_numpy_numbers_and_undefined_numbers(tmp_path):
    of_student = {"value": np.float32(0.5), "interval": np.array([0.25, 0.75])}
    report = changed("models/student/metrics/next_item/ndcg@10", of_student)
    report["models"]["student"]["bytes"] = np.int64(12)
    report["models"]["twin"]["metrics"]["next_item"]["ndcg@10"]["value"] = math.nan
    report["recipe"]["folder"] = tmp_path
    json_path, html_path = write_report(report, tmp_path)
    read = json.loads(json_path.read_text(), parse_constant=lambda word: pytest.fail(word))
    student = read["models"]["student"]
    assert student["metrics"]["next_item"]["ndcg@10"] == {"value": 0.5, "interval": [0.25, 0.75]}
    assert student["bytes"] == 12
    assert read["models"]["twin"]["metrics"]["next_item"]["ndcg@10"]["value"] is None
    assert read["recipe"]["folder"] == str(tmp_path)
    assert "nan" not in html_path.read_text().lower()


def test_a_report_that_cannot_be_written_keeps_the_old_one(tmp_path, monkeypatch):
    write_report(RETRIEVAL, tmp_path)
    before = (tmp_path / "report.json").read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfrs_distill.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(changed("seed", 4), tmp_path)
    assert (tmp_path / "report.json").read_text() == before
    assert len(list(tmp_path.iterdir())) == 2
