from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from codec.pages import Group, box_chart
from codec.pages.boxes import FEW

SVG = ElementTree.fromstring


def test_boxes_are_where_the_percentiles_are() -> None:
    values = np.linspace(0, 100, 101).tolist()  # the axis is then 0 to 100
    chart = SVG(box_chart("title", [Group("one", values)]))
    ticks = [line for line in chart.iter("line") if line.get("class") == "grid"]
    left, right = float(ticks[0].get("x1", "")), float(ticks[-1].get("x1", ""))

    def value(place: str | None) -> float:
        return (float(place or "") - left) / (right - left) * 100

    (box,) = [rect for rect in chart.iter("rect") if rect.get("class") == "box"]
    assert value(box.get("x")) == pytest.approx(25, abs=0.1)
    assert float(box.get("width", "")) / (right - left) == pytest.approx(0.5, abs=0.001)
    lines = {line.get("class"): line for line in chart.iter("line")}
    assert value(lines["median"].get("x1")) == pytest.approx(50, abs=0.1)
    assert value(lines["whisker"].get("x1")) == pytest.approx(5, abs=0.1)
    assert value(lines["whisker"].get("x2")) == pytest.approx(95, abs=0.1)


def test_few_values_are_drawn_each_and_many_are_not() -> None:
    assert box_chart("t", [Group("a", [1.0] * FEW)]).count("<circle") == FEW
    assert box_chart("t", [Group("a", [1.0] * (FEW + 1))]).count("<circle") == 0


def test_a_group_without_values_is_named_and_nothing_is_nan() -> None:
    text = box_chart("t", [Group("empty", []), Group("one", [2.0])])
    assert "empty: no scores" in text and "nan" not in text
    assert "no scores" in box_chart("t", [Group("empty", [])])


def test_names_are_escaped_and_the_chart_is_told_in_words() -> None:
    chart = SVG(box_chart('<i> & "t"', [Group("<b>", [1.0, 2.0, 3.0])]))
    assert re.match(r'<i> & "t"\. <b>: median 2, half of the values from 1\.5 to 2\.5\.', chart.get("aria-label", ""))
