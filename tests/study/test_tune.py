"""Settings chosen on the source corpora alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import HPARAMS
from scipy import stats

from lam_sb import __main__ as commands
from lam_sb.config import load
from lam_sb.errors import UserError
from lam_sb.evaluation.comparisons import Column
from lam_sb.evaluation.statistics import Estimate
from lam_sb.study.tune import scores_of, tuning_study
from lam_sb.study.tuned_keys import check_tuning, settings_of

FILE = str(HPARAMS / "small/lam_gl.yaml")
GRID = {"gamma": [0, 0.5], "anchor_layers": [[1, 2]]}


def study_of(wavlm, source, **keys):
    given = {"source": source, "data_folder": "/d", "encoder_source": wavlm}
    return tuning_study(FILE, given | keys, settings_of(GRID))[0]


def test_each_combination_has_a_name_of_its_own():
    settings = settings_of({"gamma": [0, 1], "scale": ["per_dim", "a b"]})
    assert [*settings.values()] == [
        {"gamma": g, "scale": s} for g in (0, 1) for s in ("per_dim", "a b")
    ]
    assert [*settings][-1] == "gamma=1,scale=a_b"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (None, "grid is None; give a list of values for each key"),
        ({"gamma": 0.1}, "give a list of values for each key"),
        ({"gamma": []}, "give a list of values for each key"),
        ({"gama": [0.1]}, "no key 'gama'. Did you mean 'gamma'?"),
        ({"gamma": [0.1, "much"]}, "gamma is 'much'; it takes a number"),
        ({"scale": ["a b", "a_b"]}, "two values of scale"),
        ({"max_duration": [5, 9]}, "rows are tested, .* as --max_duration"),
    ],
)
def test_a_grid_that_no_run_takes_is_refused_at_once(grid, message):
    with pytest.raises(UserError, match=message):
        check_tuning(FILE, {"data_folder": "/d", "grid": grid})


def test_each_source_is_the_target_of_the_others(wavlm):
    study = study_of(str(wavlm), "left+right+third", target="nowhere", seeds=3)
    assert set(study.directions) == {
        ("right+third", "left"),
        ("left+third", "right"),
        ("left+right", "third"),
    }
    assert [*study["systems"].values()] == [
        {"gamma": 0, "anchor_layers": [1, 2]},
        {"gamma": 0.5, "anchor_layers": [1, 2]},
    ]
    assert study["seeds"] == [0, 1, 2]
    assert study["keys"] == {"data_folder": "/d"}  # nothing of the target
    assert "nowhere" not in str(study.values)


def test_of_one_source_the_speakers_are_left_out(wavlm, capsys):
    study = study_of(str(wavlm), "left")
    assert study.directions == [("left", "left")]
    within = {"bound": "within", "protocol": "speakers", "folds": 5}
    for settings in study["systems"].values():
        assert settings.items() > within.items()
    said = capsys.readouterr().out
    assert "does not see what a change of language does" in said


def estimate(value, error, df=9.0):
    return Estimate(value, 0.0, 1.0, error, df, 10, 5, 0)


def findings_of(scores, rows="ab"):
    """Findings of estimates by setting and corpus that was left out."""
    labels = [ord(name) % 4 for name in rows]
    tested = SimpleNamespace(ids=np.array([*rows]), labels=np.array(labels))
    table = {}
    for name, by_corpus in scores.items():
        run = SimpleNamespace(results={"system": name})
        for corpus, found in by_corpus.items():
            column = Column("tiny", "others", corpus)
            table[name, column] = SimpleNamespace(
                runs=[run], estimate=found, predictions=tested
            )
    return SimpleNamespace(
        tables=[SimpleNamespace(scores=table)] if table else [],
        problems=["6 of the study's 6 runs are not done yet."],
    )


def test_settings_of_several_tables_are_compared():
    """Those of another `normalise` have a table of their own."""
    grid = settings_of({"normalise": ["domain", "speaker"]})
    tables = [
        findings_of({name: {"a": estimate(value, 0.03)}}).tables[0]
        for name, value in zip(grid, (0.5, 0.6), strict=True)
    ]
    findings = SimpleNamespace(tables=tables, problems=[])
    found = scores_of(findings, grid)
    assert [choice.settings["normalise"] for choice in found] == [
        *("speaker", "domain")
    ]


@pytest.mark.parametrize("rows", ["ba", "abc", "bc"])
def test_settings_that_tested_other_rows_are_not_compared(rows):
    one, two = grid = settings_of({"normalise": ["domain", "speaker"]})
    tables = [
        *findings_of({one: {"a": estimate(0.5, 0)}}).tables,
        *findings_of({two: {"a": estimate(0.9, 0)}}, rows).tables,
    ]
    findings = SimpleNamespace(tables=tables, problems=[])
    if rows == "ba":  # the same in another order
        assert scores_of(findings, grid)
        return
    with pytest.raises(UserError, match="on a they tested other rows"):
        scores_of(findings, grid)


def test_the_best_mean_over_the_corpora_is_chosen():
    grid = settings_of({"gamma": [0, 1, 2]})
    one, two, three = grid
    scores = {
        one: {"a": estimate(0.5, 0.03), "b": estimate(0.6, 0.04)},
        two: {"a": estimate(0.4, 0.0), "b": estimate(0.8, 0.0)},
        three: {"a": estimate(0.6, 0.0), "b": estimate(0.6, 0.0)},
    }
    choices = scores_of(findings_of(scores), grid)
    assert [c.settings["gamma"] for c in choices] == [1, 2, 0]  # first of ties
    worst = choices[-1]
    assert worst.value == pytest.approx(0.55)
    assert worst.by_corpus == {"a": 0.5, "b": 0.6}
    error = np.hypot(0.03, 0.04) / 2
    df = (9 + 16) ** 2 / ((81 + 256) / 9)  # Satterthwaite's
    margin = stats.t.ppf(0.975, df) * error
    assert worst.high - worst.value == pytest.approx(margin)
    assert worst.value - worst.low == pytest.approx(margin)


def test_settings_that_lack_a_result_are_not_compared():
    grid = settings_of({"gamma": [0, 1]})
    one, two = grid
    scores = {
        one: {"a": estimate(0.5, 0), "b": estimate(0.6, 0)},
        two: {"a": estimate(0.9, 0)},
    }
    with pytest.raises(UserError, match=r"gamma=1 has no result for .* b"):
        scores_of(findings_of(scores), grid)
    with pytest.raises(UserError, match="6 runs are not done yet"):
        scores_of(findings_of({}), grid)


def test_what_is_chosen_is_a_file_to_train_with(
    corpora, wavlm, tmp_path, capsys
):
    """The target is not there at all: nothing of it is read."""
    keys = {
        **{"source": "[left, right]", "target": "nowhere"},
        **{"data_folder": corpora, "encoder_source": wavlm, "seeds": 1},
        **{"output_root": tmp_path / "results", "max_steps": 2},
        **{"feature_folder": tmp_path / "features", "batch_size": 16},
        **{"projection_dim": 16, "num_heads": 2, "jobs": 2},
        "grid": "{gamma: [0.25], anchor_layers: [[1, 2]]}",
    }
    words = [f"--{key}={value}" for key, value in keys.items()]
    commands.main(["tune", FILE, "--noprogressbar", *words])
    said = capsys.readouterr().out
    folder = tmp_path / "results/study/tune/small_lam_gl"
    assert f"Chosen: {folder}/tuned.yaml" in said
    assert "| on left   | on right   |" in said
    tuned = load(
        folder / "tuned.yaml",
        {"data_folder": "/d", "encoder_source": str(wavlm)},
    )
    assert tuned["experiment"] == "small_lam_gl_tuned"
    assert tuned["gamma"] == 0.25
    assert tuned["anchor_layers"] == [1, 2]
    assert (folder / "report.html").is_file()


def test_manifests_of_the_targets_own_are_not_read(wavlm):
    with pytest.raises(UserError, match="target_test names a manifest"):
        study_of(str(wavlm), "[left, right]", target_test="mine.json")
