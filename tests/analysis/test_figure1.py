from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from lam_sb.analysis.figure1 import COLOURS, draw_similarity

EMOTIONS = ("neutral", "happy", "all")


def table(offset):
    measures = ("centroid", "centroid:within_source", "centroid:mismatched")
    return [
        {
            "layer": layer,
            "emotion": emotion,
            "segment": segment,
            "measure": measure,
            "value": 0.9 - offset - layer / 20,
            "low": 0.85 - offset - layer / 20
            if measure in measures[:1]
            else None,
            "high": 0.95 - offset - layer / 20
            if measure in measures[:1]
            else None,
        }
        for segment in ("utterance", "vowels")
        for measure in measures
        for emotion in EMOTIONS
        if (emotion, measure) != ("all", "centroid:mismatched")
        for layer in range(1, 7)
    ]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    figures, folder = [], tmp_path_factory.mktemp("figures")
    save = Figure.savefig

    def noted(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    tables = {"wavlm": table(0), "whisper": table(0.1)}
    selected = {"wavlm": {"group": [1, 2, 3]}, "whisper": {"group": [2, 4, 6]}}
    selected["whisper"]["vowels"] = {"group": [1, 5, 6]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", noted)
        for names in (("a.png", "a.pdf"), ("b.pdf", "b.png")):
            paths = [folder / name for name in names]
            draw_similarity(tables, selected, "centroid", "left-right", paths)
    return figures[0], folder


def test_a_panel_an_emotion_and_segment_a_line_an_encoder(drawn):
    figure, _ = drawn
    assert len(figure.axes) == 2 * len(EMOTIONS)
    assert [ax.get_title() for ax in figure.axes[:3]] == list(EMOTIONS)
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == [
        "utterance\ncentroid",
        "vowels\ncentroid",
    ]
    for ax, thin in zip(figure.axes, [4, 4, 2] * 2, strict=True):
        wide = [x for x in ax.get_lines() if x.get_linewidth() == 1.6]
        assert [x.get_label() for x in wide] == ["wavlm", "whisper"]
        assert np.allclose(wide[1].get_ydata(), 0.8 - np.arange(1, 7) / 20)
        assert len(ax.collections) == 2  # shaded intervals
        widths = [x.get_linewidth() for x in ax.get_lines()]
        assert widths.count(0.7) == thin


@pytest.mark.parametrize(("count", "shape"), [(2, (1, 2)), (7, (3, 3))])
def test_of_one_emotion_segments_fill_rows_of_three(
    tmp_path, monkeypatch, count, shape
):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: path.touch())
    monkeypatch.setattr(Figure, "suptitle", lambda *a: figures.append(a))
    names = [f"segment {n}" for n in range(count)]
    rows = [
        row | {"segment": name}
        for name in names
        for row in table(0)
        if (row["segment"], row["emotion"]) == ("vowels", "all")
    ]
    selected = {"wavlm": {"group": [1]}}
    draw_similarity(
        {"wavlm": rows}, selected, "centroid", "a-b", [tmp_path / "a.png"]
    )
    figure, title = figures[0]
    assert title == "a-b, all emotions"
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == names
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    assert all(len(ax.collections) == 1 for ax in shown)
    lowest = [ax for ax in shown if ax.get_xlabel() == "layer"]
    assert lowest == shown[-shape[1] :]


def test_selected_layers_are_marked(drawn):
    figure, _ = drawn
    utterances, vowels = (
        {
            x.get_label(): x.get_xdata().tolist()
            for x in figure.axes[n].get_lines()
            if x.get_linestyle() == "None"
        }
        for n in (0, len(EMOTIONS))
    )
    assert utterances["wavlm, selected"] == [1, 2, 3]
    assert utterances["whisper, selected"] == [2, 4, 6]
    assert vowels["whisper, selected"] == [1, 5, 6]


def test_lines_differ_in_grey_and_by_mark(drawn):
    figure, _ = drawn
    lines = [x for x in figure.axes[0].get_lines() if x.get_linewidth() == 1.6]
    assert len({x.get_marker() for x in lines}) == 2
    greys = [np.dot(to_rgb(x), (0.299, 0.587, 0.114)) for x in COLOURS[:2]]
    assert abs(greys[0] - greys[1]) > 0.05


def test_both_formats_are_whole_and_equal_when_drawn_again(drawn):
    _, folder = drawn
    assert imread(folder / "a.png").shape[2] == 4
    assert (folder / "a.pdf").read_bytes().startswith(b"%PDF")
    for kind in ("png", "pdf"):
        one, two = (folder / f"{name}.{kind}" for name in "ab")
        assert one.read_bytes() == two.read_bytes()


def test_panels_and_the_legend_are_laid_out_beside_each_other(drawn):
    figure, _ = drawn
    renderer = figure.canvas.get_renderer()
    parts = [*figure.axes, *figure.legends]
    boxes = [part.get_tightbbox(renderer) for part in parts]
    assert len(boxes) == 7
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[n + 1 :])
