"""The teachers as a table and as a section of the page."""

import copy
import io
import xml.etree.ElementTree as ElementTree

import pytest
from made_reports import BINS, RETRIEVAL, teacher
from made_reports import TEACHERS as REPORT
from rich.console import Console

from tfrs_distill.pipeline.report import html_page
from tfrs_distill.pipeline.report.charts import Calibration, reliability_chart
from tfrs_distill.pipeline.report.teachers import teacher_table


def printed(width, report=REPORT):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(teacher_table(report, width))
    return console.export_text()


def lines_of(text):
    return {line.split()[0]: line for line in text.splitlines() if line.strip()}


def test_a_wide_terminal_shows_every_figure():
    text = printed(190)
    for heading in ("NDCG@10", "vs twin", "Recall@10", "head", "tail", "NLL", "ECE", "T", "Items"):
        assert f" {heading}" in text
    lines = lines_of(text)
    bert, ease, twin = (lines[name] for name in ("bert", "<b>ease", "twin"))
    for figure in ("0.2000", "+0.0105", "-0.0015 to 0.0225", "0.1000", "0.3000", "5.43", "12.3 %"):
        assert figure in bert
    assert "1.25" in bert and "12.5 ms" in bert and "1.50 s" in bert
    assert "-0.0395" in ease and "+-" not in ease
    assert "5.43" not in ease and "12.5 ms" not in ease and " - " in ease
    assert "+" not in twin


def test_a_narrow_terminal_shows_the_most_important():
    text = printed(60)
    assert "0.2000" in text and "+0.0105" in text
    assert "Recall" not in text and "NLL" not in text
    assert max(len(line) for line in text.splitlines()) <= 60


@pytest.mark.parametrize("width", [36, 40, 50, 60, 80, 90, 98, 106, 150, 162, 182, 200])
def test_names_and_figures_fit_at_the_width_where_they_are_shown(width):
    report = copy.deepcopy(REPORT)
    report["models"] = {"multimodal": teacher(0.2, -0.0105, items=16_100.0)} | report["models"]
    text = printed(width, report)
    assert "…" not in text
    for name in report["models"]:
        assert any(line.startswith(f" {name} ") for line in text.splitlines()), text


def teacher_section(compared):
    """The page's section about the teachers."""
    page = html_page(RETRIEVAL | {"teachers": compared})
    start = page.index("<section><h2>What the teachers know")
    return page[start : page.index("</section>", start) + len("</section>")]


def parsed(html):
    return ElementTree.fromstring(html)


def reliability(bins):
    points = [(one["predicted"], one["observed"], "title") for one in bins]
    return reliability_chart([Calibration("teacher", points)], log=True)


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


def test_only_models_with_probabilities_have_a_picture():
    root = parsed(teacher_section(REPORT))
    figures = list(root.iter("figure"))
    assert [figure.find("h3").text for figure in figures] == ["bert", "twin"]
    assert [figure.get("class") for figure in figures] == ["teacher", "twin"]
    without = copy.deepcopy(REPORT)
    for told in without["models"].values():
        told["calibration"] = None
    section = teacher_section(without)
    assert "Reliability" not in section and "<svg" not in section
    parsed(section)


def test_a_reliability_picture_has_log_axes_of_one_scale():
    root = parsed(reliability(BINS))
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("circle")]
    line = next(element for element in root.iter("line") if element.get("class") == "axis")
    x1, y1, x2, y2 = (float(line.get(name)) for name in ("x1", "y1", "x2", "y2"))

    def share(value):
        """Of the way from .001 to 1, the powers of ten around all figures, on a log axis."""
        import math

        return (math.log10(value) + 3) / 3

    for (left, top), told in zip(dots, BINS):
        assert left == pytest.approx(x1 + share(told["predicted"]) * (x2 - x1), abs=0.06)
        observed = told["observed"] or 0.001  # nothing happened: on the lower edge
        assert top == pytest.approx(y1 + share(observed) * (y2 - y1), abs=0.06)
    labels = {element.text for element in root.iter("text")}
    assert labels == {"0.001", "0.01", "0.1", "1", "predicted probability"}
    section = parsed(teacher_section(REPORT))
    titles = [element.text for element in section.iter("title")]
    assert titles[1] == "expected 20.0 next items, there were 30"


def test_a_reliability_picture_of_one_value_has_a_scale():
    flat = [{"predicted": 0.1, "observed": 0.1, "expected_items": 5.0, "observed_items": 5}]
    root = parsed(reliability(flat))
    (dot,) = root.iter("circle")
    labels = {element.text for element in root.iter("text")}
    assert labels == {"0.1", "1", "predicted probability"}
    assert float(dot.get("cx")) > 0 and "nan" not in ElementTree.tostring(root, "unicode")
