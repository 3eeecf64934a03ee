import copy
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from tfrs_distill.pipeline.report import (
    charts,
    html_page,
    numbers,
    terminal_table,
    verdict,
    write_report,
)
from tfrs_distill.pipeline.report.labels import Box, place
from tfrs_distill.pipeline.report.verdict import outcome


def figures(ndcg, low, high, **others):
    return {"ndcg@10": ndcg, "ndcg@10_interval": [low, high], "recall@10": ndcg / 2, **others}


REPORT = {
    "name": "films",
    "seed": 3,
    "k": 10,
    "recipe": {"name": "films", "evaluation": {"k": 10, "bootstrap_samples": 250}},
    "models": {
        "popularity": figures(0.07, 0.06, 0.08),
        "teacher": figures(0.2, 0.18, 0.22, bytes=90_000_000, parameters=22_700_000),
        "student": figures(0.196, 0.176, 0.216, bytes=60_000, parameters=15_146),
        "twin": figures(0.18, 0.16, 0.2, bytes=60_000),
        "student_int8": figures(
            0.195, 0.175, 0.215, bytes=24_600, latency_ms_p50=0.0634, latency_ms_p95=0.1
        ),
    },
    "comparisons": {
        "student_vs_twin": {
            "seeds": [0, 1, 2],
            "difference": 0.016,
            "interval": [0.004, 0.028],
            "ratio": 1.0889,
        },
        "student_vs_teacher": {"ratio": 0.98},
    },
    "training": {
        "teacher": {"loss": [3.0, 2.0], "validation_ndcg@10": [0.1, 0.2]},
        "student": {"loss": [3.0, 2.0, 1.0], "validation_ndcg@10": [0.05, 0.25, 0.15]},
    },
    "data": {"users": 943, "items": 1682, "interactions": 100_000},
    "stages": {"data": {"seconds": 2.04}, "teacher": {"seconds": 61.0}},
    "versions": {"tensorflow": "2.21.0"},
}


def changed(path, value):
    """`REPORT` with another value at a dotted path; keys may contain no dot."""
    report = copy.deepcopy(REPORT)
    *parents, last = path.split(".")
    inner = report
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return report


def with_interval(low, high, ratio):
    report = changed("comparisons.student_vs_twin.interval", [low, high])
    report["comparisons"]["student_vs_twin"]["ratio"] = ratio
    return report


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
def test_figures_are_shown_as_people_read_them(show, value, text):
    assert show(value) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "text", [1.0], {}])
@pytest.mark.parametrize("show", ["size", "milliseconds", "duration", "percent", "count", "metric"])
def test_a_missing_figure_is_a_dash(show, value):
    assert getattr(numbers, show)(value) == "-"


# Verdict


def test_the_teacher_helped():
    # 1.0889 - 1 = 8.89 %; 60 kB of 90 MB = 0.0667 %
    assert verdict(REPORT) == (
        "The teacher helped: the student's NDCG@10 is 8.9 % above its twin's (95 % interval of "
        "the difference 0.0040 to 0.0280) and 98.0 % of the teacher's, at 0.067 % of its bytes."
    )


def test_the_teacher_did_not_help_measurably():
    assert verdict(with_interval(-0.002, 0.01, 1.02)) == (
        "The teacher did not help measurably: the student's NDCG@10 is 2.0 % above its twin's "
        "(the 95 % interval of the difference, -0.0020 to 0.0100, contains 0) and 98.0 % of the "
        "teacher's, at 0.067 % of its bytes."
    )
    assert "is 1.0 % below its twin's" in verdict(with_interval(-0.01, 0.002, 0.99))


def test_the_teacher_hurt():
    assert verdict(with_interval(-0.02, -0.001, 0.95)) == (
        "The teacher hurt: the student's NDCG@10 is 5.0 % below its twin's (95 % interval of the "
        "difference -0.0200 to -0.0010) and 98.0 % of the teacher's, at 0.067 % of its bytes."
    )


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (1e-9, 0.1, "helped"),
        (0.0, 0.1, "not measurable"),
        (-0.1, 0.0, "not measurable"),
        (-0.1, -1e-9, "hurt"),
        (math.nan, math.nan, "not measurable"),
        (None, None, "not measurable"),
    ],
)
def test_an_interval_that_touches_zero_measures_nothing(low, high, expected):
    assert outcome(with_interval(low, high, 1.0)) == expected


def test_a_verdict_without_figures_says_so():
    report = {"k": 5, "models": {}, "comparisons": {}}
    assert verdict(report) == (
        "Whether the teacher helped was not measured: the student's NDCG@5 could not be compared "
        "with its twin's (no interval was measured)."
    )


def test_the_verdict_takes_the_exported_size_where_the_student_has_none():
    report = changed("models.student_tflite", {"bytes": 9_000_000})
    del report["models"]["student"]["bytes"]
    assert verdict(report).endswith("at 10.0 % of its bytes.")


# Terminal


def printed(report, width):
    console = Console(width=width, color_system=None, record=True, file=open("/dev/null", "w"))
    console.print(terminal_table(report, width))
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def test_the_terminal_table_has_a_line_a_model_in_a_fixed_order():
    lines = printed(REPORT, 160)
    headings = re.split(r"\s{2,}", lines[0].strip())
    assert headings == [
        "Model",
        "NDCG@10",
        "95 % interval",
        "Recall@10",
        "MRR@10",
        "Coverage",
        "Overlap",
        "Parameters",
        "Size",
        "p50",
        "p95",
    ]
    names = [re.split(r"\s{2,}", line.strip())[0] for line in lines[2:]]
    assert names == ["Teacher", "Student", "Student, int8", "Twin", "Popularity"]
    student = re.split(r"\s{2,}", lines[3].strip())
    assert student[1:5] == ["0.1960", "0.1760 to 0.2160", "0.0980", "-"]
    assert student[7:9] == ["15,146", "60.0 kB"]


@pytest.mark.parametrize("width", [42, 54, 66, 78, 80, 92, 104, 116, 126, 136])
def test_the_table_fits_its_terminal_with_a_line_a_model(width):
    models = {key: dict(REPORT["models"]["teacher"]) for key in ("teacher", "saved_model")}
    for told in models.values():
        told.update({"latency_ms_p50": 1.234, "latency_ms_p95": 999.0, "mrr@10": 0.1})
    report = {**REPORT, "models": models}
    lines = printed(report, width)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert "Student, SavedModel" in lines[3] and "92.3 MB" not in lines[3]
    assert "90.0 MB" in lines[3]


def test_an_unknown_model_is_shown_last_and_as_text():
    lines = printed(changed("models.[red]mine", figures(0.1, 0.0, 0.2)), 100)
    assert lines[-1].strip().startswith("[red]mine")


# Charts


def test_ticks_are_round_and_inside():
    assert charts.ticks(0.05, 0.21) == [0.05, 0.1, 0.15, 0.2]
    assert charts.ticks(1, 100) == [20, 40, 60, 80, 100]
    assert charts.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.ticks(-0.003, 0.012) == [0, 0.005, 0.01]


def test_the_best_epoch_is_the_first_of_the_highest():
    assert charts.best_epoch([0.1, 0.3, 0.2, 0.3]) == 2
    assert charts.best_epoch([None, 0.1, None]) == 2


def test_axes_are_linear_or_logarithmic():
    assert charts.Axis(0, 10, 100, 200)(2.5) == 125
    assert charts.Axis(10, 1000, 0, 100, log=True)(100) == pytest.approx(50)
    assert charts.Axis(5, 5, 0, 100)(5) == 50


def dots(svg, style):
    """cx, cy of the dots in groups of a class."""
    tree = ElementTree.fromstring(svg)
    groups = [group for group in tree.iter("g") if group.get("class") == style]
    return [
        (float(circle.get("cx")), float(circle.get("cy")))
        for group in groups
        for circle in group.iter("circle")
        if circle.get("class") == "dot"
    ]


def test_a_curve_has_a_point_an_epoch_and_its_dot_at_the_best():
    svg = charts.training_curves(REPORT)
    tree = ElementTree.fromstring(svg)
    group = next(group for group in tree.iter("g") if group.get("class") == "student")
    points = [
        tuple(map(float, pair.split(","))) for pair in group.find("polyline").get("points").split()
    ]
    assert len(points) == 3
    assert dots(svg, "student") == [points[1]]  # 0.25 is the highest, at epoch 2
    assert points[1][1] < points[2][1] < points[0][1]  # higher quality is higher up
    # Epochs 1, 2, 3 lie at the left end, the middle and the right end.
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.1)
    titles = [title.text for title in group.iter("title")]
    assert titles == [
        "Student, epoch 1: 0.0500",
        "Student, epoch 2: 0.2500",
        "Student, epoch 3: 0.1500",
    ]


def test_quality_against_size_is_on_a_log_axis():
    report = copy.deepcopy(REPORT)
    report["models"] = {
        "student": figures(0.1, 0.1, 0.1, bytes=1_000),
        "twin": figures(0.2, 0.2, 0.2, bytes=10_000),
        "teacher": figures(0.4, 0.4, 0.4, bytes=1_000_000),
    }
    svg = charts.quality_against_size(report)
    (student,), (twin,), (teacher,) = (dots(svg, name) for name in ("student", "twin", "teacher"))
    # 3 decades from student to teacher, the first of them to the twin; dots are rounded to 0.1 px
    assert twin[0] - student[0] == pytest.approx((teacher[0] - student[0]) / 3, abs=0.2)
    assert twin[1] - student[1] == pytest.approx((teacher[1] - student[1]) / 3, abs=0.2)
    assert teacher[1] < student[1]
    ticks = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert {"1 kB", "10 kB", "100 kB", "1 MB", "bytes on disk"} <= set(ticks)


def test_a_model_without_bytes_is_a_level():
    svg = charts.quality_against_size(REPORT)
    tree = ElementTree.fromstring(svg)
    (level,) = [line for line in tree.iter("line") if line.get("class") == "level popularity"]
    assert level.get("y1") == level.get("y2")
    assert dots(svg, "popularity") == []
    whiskers = [line for line in tree.iter("line") if line.get("class") == "whisker"]
    assert len(whiskers) == 4


def crowded():
    """Three exports of one student, of about one size and one quality."""
    report = copy.deepcopy(REPORT)
    for key, size in (("student_tflite", 61_000), ("saved_model", 62_000)):
        report["models"][key] = figures(0.196, 0.176, 0.216, bytes=size)
    return report


@pytest.mark.parametrize("report, labels", [(REPORT, 5), (crowded(), 7)])
def test_labels_do_not_cover_each_other(report, labels):
    tree = ElementTree.fromstring(charts.quality_against_size(report))
    boxes = []
    for text in tree.iter("text"):
        if "label" in text.get("class"):
            width = 6 * len(text.text)
            left = float(text.get("x")) - (width if "end" in text.get("class") else 0)
            top = float(text.get("y")) - 10
            boxes.append(Box(left, top, left + width, top + 11))
    assert len(boxes) == labels
    for index, box in enumerate(boxes):
        assert box.left >= 0 and box.right <= charts.WIDTH
        assert all(box.overlap(other) == 0 for other in boxes[:index])


def test_place_prefers_the_right_and_avoids_what_is_taken():
    frame = Box(0, 0, 200, 100)
    free = place(100, 50, "EASE", [], frame)
    assert free.left > 100 and free.top < 50 < free.bottom
    left = place(100, 50, "EASE", [Box(101, 0, 200, 100)], frame)
    assert left.right < 100
    edge = place(195, 50, "EASE", [], frame)
    assert edge.right < 195


@pytest.mark.parametrize(
    "report",
    [
        changed("training", {}),
        changed("training.student.validation_ndcg@10", [None, None]),
        changed("training.student.validation_ndcg@10", [0.1]),
        changed("training.student.validation_ndcg@10", [0.0, 0.0, 0.0]),
        changed("models", {"student": {"ndcg@10": 0.1}}),
        changed("models", {"student": {"ndcg@10": 0.0, "bytes": 100}}),
        changed("models", {"student": {"ndcg@10": None, "bytes": 100}}),
        changed("models", {}),
        changed("comparisons", {}),
        changed("stages", {}),
        {"name": "n", "k": 10, "models": {}},
    ],
)
def test_a_report_with_gaps_is_still_a_page(report):
    page = html_page(report)
    assert "nan" not in page.lower() and "None" not in page
    well_formed(page)


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


def test_the_page_says_what_was_found():
    text = " ".join(well_formed(html_page(REPORT)).text)
    text = re.sub(r"\s+", " ", text)
    for words in (
        "The teacher helped: the student's NDCG@10 is 8.9 % above its twin's",
        "943 users · 1,682 items · 100,000 interactions · seed 3",
        "24.6 kB 3,659× smaller than the teacher",  # 90,000,000 / 24,600 = 3,658.5
        "63.4 µs 95 % within 100 µs",
        "best 0.2500, epoch 2",
        "compared over 3 seeds (0, 1, 2)",
        "(250 resamples)",
        "student vs twin 108.9 %, difference 0.0160 (0.0040 to 0.0280)",
        "teacher 1 min 1 s",
        "together 1 min 3 s",
        "tensorflow 2.21.0",
        "bootstrap_samples = 250",
    ):
        assert words in text, words


def test_one_seed_is_called_no_claim():
    page = html_page(changed("comparisons.student_vs_twin.seeds", [4]))
    assert "with one seed (4): a claim needs three" in page


def test_the_page_needs_nothing_from_elsewhere():
    page = html_page(REPORT)
    names = {name for name, _ in well_formed(page).attributes}
    assert not names & {"src", "href", "srcset", "xlink:href", "onload", "onclick"}
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|<iframe", page)


def test_the_page_knows_dark_and_narrow():
    page = html_page(REPORT)
    assert "prefers-color-scheme: dark" in page
    assert '<meta name="viewport" content="width=device-width' in page


def test_all_text_is_escaped():
    evil = '<script>alert("1")</script>&\'"'
    report = copy.deepcopy(REPORT)
    report["name"] = evil
    report["seed"] = evil
    report["recipe"][evil] = {evil: evil}
    report["models"][evil] = figures(0.1, 0.05, 0.15, bytes=1_000_000)
    report["training"][evil] = {"validation_ndcg@10": [0.1, 0.2]}
    report["stages"][evil] = {"seconds": 1.0}
    report["versions"][evil] = evil
    report["data"][evil] = evil
    report["comparisons"][evil] = {"ratio": 1.0}
    page = html_page(report)
    assert "<script" not in page
    parser = well_formed(page)
    assert sum(evil in text for text in parser.text) >= 8
    assert dict(parser.attributes)["class"] != evil


# On disk


def test_both_files_are_written_and_json_is_the_report(tmp_path):
    json_path, html_path = write_report(REPORT, tmp_path / "out")
    assert json_path == tmp_path / "out" / "report.json"
    assert html_path == tmp_path / "out" / "report.html"
    assert json.loads(json_path.read_text(encoding="utf-8")) == REPORT
    assert html_path.read_text(encoding="utf-8") == html_page(REPORT)
    assert sorted(path.name for path in json_path.parent.iterdir()) == [
        "report.html",
        "report.json",
    ]


def test_numpy_figures_and_numbers_that_are_none(tmp_path):
    report = changed("models.student.ndcg@10", np.float32(0.5))
    report["models"]["student"]["ndcg@10_interval"] = np.array([0.25, 0.75])
    report["models"]["student"]["bytes"] = np.int64(12)
    report["models"]["twin"]["ndcg@10"] = math.nan
    report["recipe"]["folder"] = tmp_path
    json_path, html_path = write_report(report, tmp_path)
    read = json.loads(json_path.read_text(), parse_constant=lambda word: pytest.fail(word))
    assert read["models"]["student"]["ndcg@10"] == 0.5
    assert read["models"]["student"]["ndcg@10_interval"] == [0.25, 0.75]
    assert read["models"]["student"]["bytes"] == 12
    assert read["models"]["twin"]["ndcg@10"] is None
    assert read["recipe"]["folder"] == str(tmp_path)
    assert "nan" not in html_path.read_text().lower()


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_report(REPORT, tmp_path)
    before = (tmp_path / "report.json").read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfrs_distill.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(changed("seed", 4), tmp_path)
    assert (tmp_path / "report.json").read_text() == before
    assert len(list(tmp_path.iterdir())) == 2
