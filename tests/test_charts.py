"""Charts are well-formed SVG whose lines stand where the numbers are."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.charts import BOTTOM, LEFT, RIGHT, TOP, Curve, line_chart, log_ticks, short, ticks


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """Points of each polyline."""
    found = ElementTree.fromstring(svg).findall("polyline")
    return [[tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()] for line in found]  # type: ignore[misc]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def test_points_stand_where_the_numbers_are() -> None:
    (line,) = lines(line_chart("loss", [Curve("train", [(0, 0), (50, 10), (100, 5)])]))
    assert line == [(LEFT, BOTTOM), ((LEFT + RIGHT) / 2, TOP), (RIGHT, (TOP + BOTTOM) / 2)]


def test_a_logarithmic_scale_gives_every_decade_the_same_room() -> None:
    (line,) = lines(line_chart("loss", [Curve("train", [(1, 1), (2, 10), (3, 100)])], log_y=True))
    heights = [y for _, y in line]
    assert heights[0] == BOTTOM and heights[2] == TOP
    assert heights[1] == pytest.approx((TOP + BOTTOM) / 2, abs=0.1)


def test_what_cannot_be_drawn_is_left_out() -> None:
    svg = line_chart("loss", [Curve("a", [(0, math.nan), (1, math.inf), (2, 3), (3, 4)]), Curve("empty", [])])
    assert [len(line) for line in lines(svg)] == [2]
    assert "empty" not in texts(svg)
    assert len(lines(line_chart("loss", [Curve("a", [(0, -1), (1, 0), (2, 3)])], log_y=True))[0]) == 1
    assert "nothing logged" in texts(line_chart("loss", []))


@pytest.mark.parametrize(
    "points", [[(0, 0)], [(100, 5)], [(0, 2), (100, 2)], [(10, -3), (20, -1)], [(5, 1e-12), (6, 1e12)]]
)
@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("from_zero", [False, True])
def test_every_point_is_inside_the_plot(points: list[tuple[float, float]], log_y: bool, from_zero: bool) -> None:
    for line in lines(line_chart("t", [Curve("a", points)], log_y=log_y, from_zero=from_zero and not log_y)):
        for x, y in line:
            assert LEFT <= x <= RIGHT and TOP <= y <= BOTTOM


def test_a_single_point_is_seen() -> None:
    assert ElementTree.fromstring(line_chart("t", [Curve("a", [(3, 1)])])).find("circle") is not None


def test_a_mark_is_drawn_and_named_and_names_are_escaped() -> None:
    svg = line_chart("a < b & c", [Curve("<i>", [(0, 1), (100, 2)])], mark=(50, "switch"))
    assert texts(svg)[0] == "a < b & c"
    assert "<i>" in texts(svg) and "switch" in texts(svg)
    mark = next(element for element in ElementTree.fromstring(svg) if element.get("class") == "mark")
    assert mark.get("x1") == f"{(LEFT + RIGHT) / 2:.1f}"
    assert "switch" not in texts(line_chart("t", [Curve("a", [(0, 1), (100, 2)])], mark=(500, "switch")))


def test_ticks_are_round_and_enclose_the_data() -> None:
    assert ticks(0, 1000, 4) == [0, 500, 1000]
    assert ticks(0.13, 0.58, 4) == [0, 0.2, 0.4, 0.6]
    assert ticks(-7, 3, 5) == [-8, -6, -4, -2, 0, 2, 4]
    assert log_ticks(0.3, 4) == [0.2, 0.5, 1, 2, 5]
    assert log_ticks(1, 1e6) == [1, 10, 100, 1000, 1e4, 1e5, 1e6]
    for low, high in [(3, 3), (0, 0), (-2, -2), (1e-9, 1e-9), (0, 5e-324), (1e6, 1e6 + 2e-10), (-1e-13, 1e-13)]:
        around = ticks(low, high, 4)
        assert around[0] <= low <= high <= around[-1] and around[0] < around[-1]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_of_any_two_numbers_rise(a: float, b: float) -> None:
    found = ticks(min(a, b), max(a, b), 4)
    assert 2 <= len(found) <= 8
    assert all(first < second for first, second in itertools.pairwise(found))
    slack = 1e-11 * max(abs(a), abs(b), 1.0)
    assert found[0] <= min(a, b) + slack and found[-1] >= max(a, b) - slack


def test_short_labels() -> None:
    assert [short(value) for value in (0, 0.25, 12, 1500, 33_236, 2e6)] == ["0", "0.25", "12", "1.5k", "33.236k", "2M"]
