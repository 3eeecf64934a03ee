"""The teachers as a section of the page."""

import copy
import xml.etree.ElementTree as ElementTree

import pytest
from made_reports import BINS, RETRIEVAL
from made_reports import TEACHERS as REPORT

from tfrs_distill.pipeline.report import html_page
from tfrs_distill.pipeline.report.charts import Calibration, reliability_chart


def teacher_section(compared):
    """The page's section about the teachers."""
    page = html_page(RETRIEVAL | {"teachers": compared})
    start = page.index("<section><h2>The teachers compared")
    return page[start : page.index("</section>", start) + len("</section>")]


def parsed(html):
    return ElementTree.fromstring(html)


def reliability(bins):
    points = [(one["predicted"], one["observed"], "title") for one in bins]
    return reliability_chart([Calibration("teacher", points)], log=True)


def test_the_section_shows_every_metric_of_each_teacher():
    root = parsed(teacher_section(REPORT))
    quality, cost = list(root.iter("table"))[:2]
    headings = ["".join(cell.itertext()) for cell in [*quality.iter("th"), *cost.iter("th")]]
    for heading in ("NDCG@10", "vs twin", "Recall@10", "head", "tail", "NLL", "ECE", "T", "Items"):
        assert heading in headings
    lines = {}
    for row in [*quality.iter("tr"), *cost.iter("tr")]:
        name, *cells = ["".join(cell.itertext()) for cell in row]
        lines[name] = f"{lines.get(name, '')} {' '.join(cells)}"
    bert, ease, twin = (lines[name] for name in ("bert", "<b>ease", "twin"))
    for figure in ("0.2000", "+0.0105", "-0.0015 to 0.0225", "0.1000", "0.3000", "5.43", "12.3 %"):
        assert figure in bert
    assert "1.25" in bert and "12.5 ms" in bert and "1.50 s" in bert
    assert "-0.0395" in ease and "+-" not in ease
    assert "5.43" not in ease and "12.5 ms" not in ease and " - " in ease
    assert "+" not in twin


def test_the_section_is_well_formed_and_escapes_names():
    root = parsed(teacher_section(REPORT))
    assert root.tag == "section"
    cells = ["".join(cell.itertext()) for cell in root.iter("td")]
    headings = ["".join(cell.itertext()) for cell in root.iter("th")]
    for heading in (
        "NDCG@10",
        "vs twin",
        "Recall@10",
        "head",
        "tail",
        "NLL",
        "ECE",
        "T",
        "Queries",
    ):
        assert headings.count(heading) == 1
    assert "5.43" in cells and "1.50 s" in cells
    assert "<b>ease" in cells and "+0.0105" in cells and "25.0 %" in cells
    notes = " ".join("".join(p.itertext()) for p in root.iter("p"))
    assert "head: popular items (900 queries)" in notes and "rare <items> (0 queries)" in notes


def test_agreement_is_in_the_order_of_its_names():
    root = parsed(teacher_section(REPORT))
    overlap, correlation = list(root.iter("table"))[2:]
    rows = [["".join(cell.itertext()) for cell in row] for row in overlap.iter("tr")]
    assert rows[0] == ["", "bert", "<b>ease", "twin"]
    assert rows[1] == ["bert", "100.0 %", "25.0 %", "50.0 %"]
    assert rows[3] == ["twin", "50.0 %", "12.5 %", "100.0 %"]
    rows = [["".join(cell.itertext()) for cell in row] for row in correlation.iter("tr")]
    assert rows[2] == ["<b>ease", "0.75", "1.00", "-"]


def test_only_models_with_probabilities_have_a_chart():
    root = parsed(teacher_section(REPORT))
    figures = list(root.iter("figure"))
    assert [figure.find("h3").text for figure in figures] == ["bert", "twin"]
    assert [figure.get("class") for figure in figures] == ["teacher", "twin"]
    without = copy.deepcopy(REPORT)
    for result in without["models"].values():
        result["calibration"] = None
    section = teacher_section(without)
    assert "Reliability" not in section and "<svg" not in section
    parsed(section)


def test_a_reliability_chart_has_log_axes_of_one_scale():
    root = parsed(reliability(BINS))
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("circle")]
    line = next(element for element in root.iter("line") if element.get("class") == "axis")
    x1, y1, x2, y2 = (float(line.get(name)) for name in ("x1", "y1", "x2", "y2"))

    def share(value):
        """The position from .001 to 1, the powers of ten around all values, on a log axis."""
        import math

        return (math.log10(value) + 3) / 3

    for (left, top), result in zip(dots, BINS):
        assert left == pytest.approx(x1 + share(result["predicted"]) * (x2 - x1), abs=0.06)
        observed = result["observed"] or 0.001  # nothing happened: on the lower edge
        assert top == pytest.approx(y1 + share(observed) * (y2 - y1), abs=0.06)
    labels = {element.text for element in root.iter("text")}
    assert labels == {"0.001", "0.01", "0.1", "1", "predicted probability"}
    section = parsed(teacher_section(REPORT))
    titles = [element.text for element in section.iter("title")]
    assert titles[1] == "next items: 20.0 expected, 30 observed"


def test_a_reliability_chart_of_one_value_has_a_scale():
    flat = [{"predicted": 0.1, "observed": 0.1, "expected_items": 5.0, "observed_items": 5}]
    root = parsed(reliability(flat))
    (dot,) = root.iter("circle")
    labels = {element.text for element in root.iter("text")}
    assert labels == {"0.1", "1", "predicted probability"}
    assert float(dot.get("cx")) > 0 and "nan" not in ElementTree.tostring(root, "unicode")
