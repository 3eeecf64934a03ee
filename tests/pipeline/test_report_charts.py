"""The charts of a report's page: positions of their points, and their text."""

import copy
import xml.etree.ElementTree as ElementTree

import pytest
from made_reports import RANKING, RETRIEVAL, figure, form, of_items

from tfrs_distill.pipeline.report import charts
from tfrs_distill.pipeline.report.charts import FRAME, Calibration, Curve
from tfrs_distill.pipeline.report.labels import Box, place
from tfrs_distill.pipeline.report.models import rows
from tfrs_distill.pipeline.report.page import curves_of


def training_curves(report):
    what, curves = curves_of(report)
    return charts.curves_chart(curves, f"Validation {what} by epoch")


def quality_against_size(report):
    return charts.size_chart(rows(report, "next_item"), "ndcg@10", "NDCG@10 against bytes on disk")


def test_ticks_are_round_and_inside():
    assert charts.ticks(0.05, 0.21) == [0.05, 0.1, 0.15, 0.2]
    assert charts.ticks(1, 100) == [20, 40, 60, 80, 100]
    assert charts.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.ticks(-0.003, 0.012) == [0, 0.005, 0.01]


def test_the_best_epoch_is_the_first_of_the_highest():
    assert Curve("twin", "Twin", [0.1, 0.3, 0.2, 0.3]).best_epoch == 2
    assert Curve("twin", "Twin", [None, 0.1, None]).best_epoch == 2


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
    svg = training_curves(RETRIEVAL)
    tree = ElementTree.fromstring(svg)
    group = next(group for group in tree.iter("g") if group.get("class") == "student")
    points = [
        tuple(map(float, pair.split(","))) for pair in group.find("polyline").get("points").split()
    ]
    assert len(points) == 3
    assert dots(svg, "student") == [points[1]]  # 0.25 is the highest, at epoch 2
    assert points[1][1] < points[2][1] < points[0][1]  # higher quality is higher up
    # Epochs 1, 2, 3 are at the left end, the middle and the right end.
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.1)
    titles = [title.text for title in group.iter("title")]
    assert titles == [
        "Student, epoch 1: 0.0500",
        "Student, epoch 2: 0.2500",
        "Student, epoch 3: 0.1500",
    ]


def test_quality_against_size_is_on_a_log_axis():
    report = copy.deepcopy(RETRIEVAL)
    report["models"] = {
        "student": of_items(0.1, 0.1, 0.1, bytes=1_000),
        "twin": of_items(0.2, 0.2, 0.2, bytes=10_000),
        "teacher": of_items(0.4, 0.4, 0.4, bytes=1_000_000),
    }
    svg = quality_against_size(report)
    (student,), (twin,), (teacher,) = (dots(svg, name) for name in ("student", "twin", "teacher"))
    # 3 decades from student to teacher, the first of them to the twin; dots are rounded to 0.1 px
    assert twin[0] - student[0] == pytest.approx((teacher[0] - student[0]) / 3, abs=0.2)
    assert twin[1] - student[1] == pytest.approx((teacher[1] - student[1]) / 3, abs=0.2)
    assert teacher[1] < student[1]
    ticks = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert {"1 kB", "10 kB", "100 kB", "1 MB", "bytes on disk"} <= set(ticks)


def test_a_model_without_bytes_is_a_horizontal_line():
    tree = ElementTree.fromstring(quality_against_size(RETRIEVAL))
    (level,) = [line for line in tree.iter("line") if line.get("class") == "level other"]
    assert level.get("y1") == level.get("y2")
    (name,) = [text.text for text in tree.iter("text") if text.get("class") == "label end other"]
    assert name == "Popularity"
    assert dots(quality_against_size(RETRIEVAL), "other") == []
    whiskers = [line for line in tree.iter("line") if line.get("class") == "whisker"]
    assert len(whiskers) == 4


def crowded():
    """Three exports of one student, of similar size and quality."""
    report = copy.deepcopy(RETRIEVAL)
    for key, size in (("student_tflite", 61_000), ("saved_model", 62_000)):
        report["models"][key] = of_items(0.196, 0.176, 0.216, bytes=size, **form(key))
    return report


@pytest.mark.parametrize("report, labels", [(RETRIEVAL, 5), (crowded(), 7)])
def test_labels_do_not_cover_each_other(report, labels):
    tree = ElementTree.fromstring(quality_against_size(report))
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


def test_place_prefers_the_right_and_avoids_occupied_areas():
    frame = Box(0, 0, 200, 100)
    free = place(100, 50, "EASE", [], frame)
    assert free.left > 100 and free.top < 50 < free.bottom
    left = place(100, 50, "EASE", [Box(101, 0, 200, 100)], frame)
    assert left.right < 100
    edge = place(195, 50, "EASE", [], frame)
    assert edge.right < 195


def test_a_reliability_point_is_at_predicted_and_observed():
    points = [(0.25, 0.5, "one"), (1.0, 0.75, "other")]
    svg = charts.reliability_chart([Calibration("student", points), Calibration("teacher", [])])
    tree = ElementTree.fromstring(svg)
    (student,) = [group for group in tree.iter("g") if group.get("class") == "student"]
    places = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in student.iter("circle")]
    width, height = FRAME.right - FRAME.left, FRAME.bottom - FRAME.top
    expected = [
        (FRAME.left + 0.25 * width, FRAME.bottom - 0.5 * height),
        (FRAME.right, FRAME.bottom - 0.75 * height),
    ]
    for found, wanted in zip(places, expected):
        assert found == pytest.approx(wanted, abs=0.06)  # printed to 0.1 px
    assert [title.text for title in student.iter("title")] == ["one", "other"]
    (diagonal,) = [line for line in tree.iter("line") if line.get("class") == "axis"]
    ends = [float(diagonal.get(name)) for name in ("x1", "y1", "x2", "y2")]
    assert ends == pytest.approx([FRAME.left, FRAME.bottom, FRAME.right, FRAME.top], abs=0.06)


def test_models_without_a_value_are_not_drawn():
    report = copy.deepcopy(RANKING)
    for result in report["models"].values():
        result["metrics"]["like"]["auc"] = figure(None)
    shown = rows(report, "like")
    assert not charts.size_chart(shown, "auc", "AUC against bytes on disk")
    assert charts.forest([shown[0].figure("auc")], ["teacher"]) == [""]


def test_forests_share_an_axis_that_includes_no_difference():
    alone = charts.forest([(0.2, 0.1, 0.3), None, (0.4, 0.3, 0.5)], ["twin", "other", "student"])
    assert alone[1] == "" and "zero" not in "".join(alone)
    places = [float(ElementTree.fromstring(one).find("circle").get("cx")) for one in alone if one]
    assert places == [6 + 128 / 4, 6 + 128 * 3 / 4]  # from 0.1 to 0.5 on 128 px
    (drawn,) = charts.forest([(0.2, 0.1, 0.3)], ["student"], 0.0)
    tree = ElementTree.fromstring(drawn)
    zero = next(line for line in tree.iter("line") if line.get("class") == "zero")
    assert float(zero.get("x1")) == float(zero.get("x2")) == 6
    assert float(tree.find("circle").get("cx")) == pytest.approx(6 + 128 * 2 / 3, abs=0.06)


def test_a_map_keeps_distances_and_names_its_points():
    places = [(0.0, 0.0), (4.0, 0.0), (0.0, 1.0)]
    svg = charts.map_chart(places, ["head", "tail", "head"], ["A", "B & C", "D"], "Map")
    tree = ElementTree.fromstring(svg)
    found = {
        circle.find("title").text: (float(circle.get("cx")), float(circle.get("cy")))
        for circle in tree.iter("circle")
    }
    assert found.keys() == {"A", "B & C", "D"}
    (left, top), (right, _), (_, above) = (found[name] for name in ("A", "B & C", "D"))
    # Higher values are higher; positions are rounded to 0.1 px.
    assert right - left == pytest.approx(4 * (top - above), abs=0.5)
    assert FRAME.left <= left < right <= FRAME.right
    assert FRAME.top <= above < top <= FRAME.bottom
    assert [group.get("class") for group in tree.iter("g")] == ["tail", "head"]  # head on top
    charts.map_chart([(1.0, 1.0)] * 2, ["head", "head"], ["A", "B"], "Map")  # all in one place
