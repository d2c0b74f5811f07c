from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lam_sb.evaluation.breakdowns import Log
from lam_sb.evaluation.statistics import Estimate
from lam_sb.study.report.plots import (
    DARK,
    Line,
    draw_coverage,
    draw_curves,
    draw_epochs,
    draw_intervals,
    draw_speakers,
)


def estimate(value, low, high):
    numbers = (x / 100 for x in (value, low, high))
    return Estimate(*numbers, 0.1, 5, 10, 10, 0)


LINES = {
    "first column": [
        Line("minus A", estimate(1.0, -2.0, 4.0), "+", filled=False),
        Line("minus B", estimate(3.0, 1.0, 5.0), "+", kind=1),
    ],
    "second & last": [Line("minus A", estimate(2.0, np.nan, np.nan), "+")],
}
EPOCHS = Log(
    np.array([1, 2, 3]),
    {
        "share": np.tile([0.35, 0.15, 0.25, 0.25], (2, 3, 1)),
        "alpha": np.full((2, 3, 4), 0.25),
    },
    (2, 5, 8, 11),
)
HISTORY = Log(
    np.array([10, 20]),
    {
        "valid_uar": np.array([[0.4, 0.6], [0.6, 0.8]]),
        "valid_loss": np.array([[1.0, 0.5], [3.0, 1.5]]),
        "train_loss": np.array([[50.0, 1.0], [70.0, 3.0]]),
    },
)
COVERAGE = pd.DataFrame(
    {"uar": [0.9, 0.8, 0.75, 0.7], "lacks": [True, False, False, False]},
    index=[25, 50, 75, 100],
)
DRAWINGS = {
    "intervals": lambda: draw_intervals(LINES, "points", 0.0),
    "epochs": lambda: draw_epochs({"LAM-GL": EPOCHS, "Layer-Atn": EPOCHS}),
    "curves": lambda: draw_curves({"LAM-GL": HISTORY, "CC": HISTORY}),
    "coverage": lambda: draw_coverage({"LAM-GL": COVERAGE, "CC": COVERAGE}),
    "speakers": lambda: draw_speakers(
        pd.DataFrame({"LAM-GL": [70.0, 50.0, 60.0], "CC": [40.0, 55.0, 45.0]})
    ),
}


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    save = Figure.savefig

    def noted(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", noted)
    return figures


def words(svg):
    """Texts are paths, each after a comment with what they say."""
    return re.findall(r"<!-- (.*?) -->", svg.decode())


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_drawings_are_equal_and_stand_alone(draw):
    svg = draw()
    assert svg == draw()
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,"))
            assert "http" not in value
    assert b"matplotlib.org" not in svg
    assert b"dc:date" not in svg


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_drawings_have_colours_for_dark_mode(draw):
    svg = draw().decode()
    style, rest = svg.split("</style>", 1)
    assert "prefers-color-scheme: dark" in style
    dark = [light for light in DARK if f"fill: {light}" in rest]
    assert dark  # what the style looks for is how the colours are written
    assert all(f'[style*="fill: {light}"]' in style for light in dark)


def test_intervals_stand_in_order_with_their_numbers(drawn):
    svg = draw_intervals(LINES, "points", 0.0)
    ax, right = drawn[0].axes
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        *("", "minus A", "minus B", "", "minus A"),
    ]
    assert [t.get_text() for t in right.get_yticklabels()] == [
        *("", "+1.0 [-2.0, +4.0]", "+3.0 [+1.0, +5.0]", "", "+2.0"),
    ]
    assert [(t.get_text(), t.get_position()[1]) for t in ax.texts] == [
        ("first column", 0),
        ("second & last", 3),
    ]
    reference, *lines = ax.lines
    assert list(reference.get_xdata()) == [0, 0]
    assert [list(line.get_xdata()) for line in lines[:4]] == [
        pytest.approx([-2, 4]),
        pytest.approx([1]),
        pytest.approx([1, 5]),
        pytest.approx([3]),
    ]
    assert list(lines[2].get_ydata()) == [2, 2]
    assert lines[1].get_markerfacecolor() != lines[1].get_color()
    assert lines[3].get_markerfacecolor() == lines[3].get_color()
    assert "points" in words(svg)


def test_intervals_need_neither_heading_nor_reference(drawn):
    draw_intervals({"": LINES["first column"]}, "UAR (%)")
    assert not drawn[0].axes[0].texts
    assert len(drawn[0].axes[0].lines) == 4


def test_epochs_are_means_with_even_layers_in_the_middle(drawn):
    draw_epochs({"LAM-GL": EPOCHS})
    share, alpha, _ = drawn[0].axes
    assert (share.get_title(), alpha.get_title()) == (
        "LAM-GL, share",
        "LAM-GL, alpha",
    )
    image = share.images[0]
    assert image.get_array().shape == (4, 3)
    assert image.get_array()[0].tolist() == pytest.approx([35] * 3)
    assert image.norm.vcenter == 25
    assert (image.norm.vmin, image.norm.vmax) == pytest.approx((15, 35))
    assert image.get_extent() == [0.5, 3.5, -0.5, 3.5]
    assert [t.get_text() for t in share.get_yticklabels()] == [
        *("2", "5", "8", "11"),
    ]


def test_even_layers_have_a_scale_too(drawn):
    even = dict.fromkeys(("share", "alpha"), EPOCHS.values["alpha"])
    draw_epochs({"LAM-GL": Log(EPOCHS.at, even, EPOCHS.layers)})
    norm = drawn[0].axes[0].images[0].norm
    assert norm.vmin < 25 < norm.vmax


def test_curves_are_means_with_their_range(drawn):
    draw_curves({"LAM-GL": HISTORY})
    scores, _, loss = drawn[0].axes
    assert scores.lines[0].get_xdata().tolist() == [10, 20]
    assert scores.lines[0].get_ydata().tolist() == pytest.approx([50, 70])
    assert loss.lines[0].get_ydata().tolist() == pytest.approx([60, 2])
    band = loss.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1, 70)
    assert (scores.get_yscale(), loss.get_yscale()) == ("linear", "log")


def test_curves_without_a_validation_are_drawn(drawn):
    missing = dict(HISTORY.values) | {"valid_uar": np.full((2, 2), np.nan)}
    draw_curves({"LAM-GL": Log(HISTORY.at, missing)})
    assert len(drawn[0].axes) == 3


def test_coverage_leaves_points_out_that_lack_an_emotion(drawn):
    draw_coverage({"LAM-GL": COVERAGE})
    (ax,) = drawn[0].axes
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [25, 50, 75, 100]
    assert np.isnan(line.get_ydata()[0])
    assert line.get_ydata()[1:].tolist() == pytest.approx([80, 75, 70])
    assert ax.get_xlim() == (0, 100)


def test_speakers_are_sorted_by_the_first_system(drawn):
    DRAWINGS["speakers"]()
    first, second = drawn[0].axes[0].lines
    assert first.get_ydata().tolist() == [50, 60, 70]
    assert second.get_ydata().tolist() == [55, 45, 40]


def test_four_systems_have_four_looks(drawn):
    draw_coverage(dict.fromkeys("abcd", COVERAGE))
    lines = drawn[0].axes[0].get_lines()
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(lines) == len(looks) == 4
