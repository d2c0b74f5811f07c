"""Which labels reach training, and what results.json says of it."""

from __future__ import annotations

import shutil

from conftest import EMOTIONS, read_table, write_table
from runs import outcome, results_of, run, same_weights


def test_target_labels_never_reach_training(arguments, corpora, tmp_path):
    def with_labels(name, change):
        data = tmp_path / name
        shutil.copytree(corpora, data)
        table = data / "right/labels.csv"
        lines = read_table(table)
        write_table(table, [change(n, line) for n, line in enumerate(lines)])
        return data

    permuted = with_labels(
        "permuted", lambda n, x: x | {"emotion": EMOTIONS[n % 4]}
    )
    deleted = with_labels("deleted", lambda n, x: x | {"emotion": ""})
    for rows, data in (("four", permuted), ("all", deleted)):
        given = run(arguments(target_rows=rows, experiment=f"true_{rows}"))
        other = run(
            arguments(
                target_rows=rows,
                experiment=f"other_{rows}",
                data_folder=data,
                manifest_folder=tmp_path / f"manifests_{rows}",
            )
        )
        assert same_weights(given, other)
        assert outcome(given)[1] == outcome(other)[1]
    scores = results_of(other)
    assert scores["uar"] is None
    assert all(r["label"] == "" for r in read_table(other / "predictions.csv"))


def test_source_labels_do_reach_training(arguments, corpora, tmp_path):
    data = tmp_path / "changed"
    shutil.copytree(corpora, data)
    lines = read_table(data / "left/labels.csv")
    lines[0]["emotion"], lines[4]["emotion"] = (
        lines[4]["emotion"],
        lines[0]["emotion"],
    )
    write_table(data / "left/labels.csv", lines)
    manifests = tmp_path / "manifests"
    given = run(arguments(experiment="given"))
    other = run(
        arguments(
            experiment="other", data_folder=data, manifest_folder=manifests
        )
    )
    assert not same_weights(given, other)


def test_selecting_on_the_target_is_marked_as_an_oracle(arguments):
    results = results_of(run(arguments(select_on="target")))
    assert results["target_labels_used"] > 0
    assert results["uar_source"] is None


def test_speaker_normalisation_is_marked(arguments):
    folder = run(arguments(normalise="speaker"))
    results = results_of(folder)
    assert results["adapts_on"] == "target_train + test_rows + test_speakers"


def test_folds_test_each_target_speaker_once(arguments):
    tested = []
    for fold in range(3):
        folder = run(
            arguments(
                protocol="speakers", folds=3, fold=fold, experiment=f"f{fold}"
            )
        )
        tested += [r["id"] for r in read_table(folder / "predictions.csv")]
    assert len(tested) == len(set(tested)) == 48
