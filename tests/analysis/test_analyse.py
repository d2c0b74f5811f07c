from __future__ import annotations

import pytest
from raw_features import domain, noise

from lam_sb.analysis.analyse import analyse_corpora
from lam_sb.analysis.anchor_layers import read_selection
from lam_sb.analysis.similarity import read_similarity

SETTINGS = {"similarity": "pairwise", "protocol": "speakers"}
DATA = {"store": "store-0"}


def analyse(folder, measure="pairwise", labelled=True):
    source, target = domain(noise(1)), domain(noise(2))
    return analyse_corpora(
        [source], [target], measure, labelled, folder, SETTINGS, DATA
    )


def test_the_selection_is_returned_and_kept_with_its_settings(tmp_path):
    folder = tmp_path / "wavlm" / "left-right"
    selection = analyse(folder)
    kept = read_selection(folder)
    kept.pop("files")
    assert kept == selection | {"settings": SETTINGS, "data": DATA}
    assert {path.name for path in folder.iterdir()} == {
        *("selection.json", "similarity.csv", "figure1.png", "figure1.pdf")
    }


@pytest.mark.parametrize(
    ("measure", "labelled", "measures"),
    [
        ("pairwise", True, {"centroid", "pairwise", "centred"}),
        ("pairwise", False, {"centroid", "pairwise"}),
        (
            "covariance",
            False,
            {
                *("centroid", "pairwise"),
                *("covariance", "covariance_standardised"),
            },
        ),
    ],
)
def test_measures_that_need_labels_or_products_are_made_where_they_are_there(
    measure, labelled, measures, tmp_path
):
    folder = tmp_path / "wavlm" / "left-right"
    analyse(folder, measure, labelled)
    rows = read_similarity(folder / "similarity.csv")
    assert {row["measure"].partition(":")[0] for row in rows} == measures


def test_figure_1_shows_all_encoders_that_were_analysed_alike(
    tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        "lam_sb.analysis.figure1.draw_similarity",
        lambda tables, selected, *rest: drawn.append((tables, selected)),
    )
    for encoder, measure in (
        ("wavlm", "pairwise"),
        ("hubert", "centroid"),
        ("whisper", "pairwise"),
    ):
        selection = analyse(tmp_path / encoder / "left-right", measure)
    tables, selected = drawn[-1]
    assert list(tables) == list(selected) == ["wavlm", "whisper"]
    assert selected["whisper"]["group"] == selection["group"]
