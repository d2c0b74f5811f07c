"""Two commands at once in the same folders end as each does alone."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from conftest import HPARAMS, SMALL
from forked import call, command, fork, run, until
from runs import folder_of, outcome
from small_studies import study_words

import train

SOME = [3, pytest.param(30, marks=pytest.mark.slow)]


@pytest.fixture
def words(tmp_path, corpora, wavlm):
    def make(*options: str, file: str = "small/lam_gl.yaml", **keys) -> list:
        folders = {
            **{"data_folder": corpora, "encoder_source": wavlm},
            **{"feature_folder": tmp_path / "features"},
            "output_root": tmp_path / "out",
        }
        pairs = SMALL | folders | keys
        given = [f"--{key}={value}" for key, value in pairs.items()]
        return [str(HPARAMS / file), "--noprogressbar", *given, *options]

    return make


@pytest.mark.parametrize("tries", SOME)
def test_runs_of_other_preparation_read_their_own_rows(tries, words):
    """They write their manifests into one folder."""
    alone = {}
    for longest in (0.45, 0.6):
        given = words(max_duration=longest, experiment=f"alone_{longest}")
        assert run(given).code == 0
        alone[longest] = outcome(folder_of(given))[1]
    assert alone[0.45] != alone[0.6]
    for n in range(tries):
        both = {
            longest: words(max_duration=longest, experiment=f"e{n}_{longest}")
            for longest in alone
        }
        waits = [fork(train.main, given) for given in both.values()]
        assert [wait().code for wait in waits] == [0, 0]
        for longest, given in both.items():
            assert outcome(folder_of(given))[1] == alone[longest]


@pytest.mark.parametrize("tries", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_second_run_in_a_folder_is_refused_and_the_first_goes_on(
    tries, words, tmp_path
):
    for _ in range(tries):
        waits = [fork(train.main, words()) for _ in range(2)]
        ended = [wait() for wait in waits]
        assert sorted(e.code for e in ended) in ([0, 2], [0, 0])
        assert all(e.is_clean for e in ended)
        if [e for e in ended if e.code == 2]:
            (second,) = (e for e in ended if e.code == 2)
            assert "Another run is at work" in second.error
        assert run(words()).code == 0
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("tries", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_extraction_and_training_fill_one_store(tries, words, tmp_path):
    assert run(words()).code == 0
    files = (tmp_path / "features").rglob("*.s*")
    whole = {path.name: path.read_bytes() for path in files}
    expected = outcome(folder_of(words()))[1]
    for _ in range(tries):
        shutil.rmtree(tmp_path / "features")
        shutil.rmtree(tmp_path / "out")
        extract = ["extract", words()[0], *words()[1:]]
        waits = [fork(train.main, words())]
        waits += [fork(command, extract) for _ in range(2)]
        for ended in (wait() for wait in waits):
            assert ended.code == 0, ended.said
        assert outcome(folder_of(words()))[1] == expected
        found = (tmp_path / "features").rglob("*.s*")
        assert {p.name: p.read_bytes() for p in found} == whole


@pytest.mark.slow
def test_two_studies_at_once_and_orphans_end_in_one_report(
    tmp_path, corpora, wavlm
):
    given = study_words(tmp_path, corpora, wavlm, seeds=2)
    killed = fork(command, given)
    until(lambda: [*(tmp_path / "out").rglob("train_log.txt")])
    os.kill(killed.number, signal.SIGKILL)  # its runs go on as orphans
    waits = [fork(command, given) for _ in range(2)]
    for ended in (wait() for wait in waits):
        assert ended.code == 0, ended.said
    page = (tmp_path / "out/study/mine/report.html").read_text()
    assert "gave no result" not in page
    assert call(*given).code == 0
