"""What a manifest holds, who reads a corpus, and what is built anew."""

from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import write_table, write_wav
from toy_corpora import (
    FOUR_FILES,
    by_speaker,
    column,
    in_splits,
    prepare,
    write_corpus_of,
)

from lam_sb.corpora.audio import check_audio
from lam_sb.corpora.manifests import SPLITS
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import prepare_corpus
from lam_sb.errors import UserError

# With a dataclass, whose annotations are looked up in its module.
TOY_READER = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Seen:
    arguments: tuple[str, ...]

def prepare(corpus, folder, save_folder, options, splits):
    save_folder.parent.mkdir()
    seen = Seen((corpus, str(folder), str(save_folder), options, splits))
    (save_folder.parent / "seen").write_text(repr(seen.arguments))
"""


@pytest.fixture
def save(tmp_path) -> Path:
    return tmp_path / "manifests/toy"


@pytest.fixture
def ten_speakers(tmp_path) -> Path:
    return write_corpus_of(tmp_path / "ten", by_speaker(10))


def test_a_row_has_the_fields_of_the_contract_and_no_others(tmp_path, save):
    lines = in_splits(
        {
            "emotion": "Happiness",
            "speaker": "7",
            "gender": "male",
            "language": "en",
            "text": "so {happy}",
        }
    )
    folder = write_corpus_of(tmp_path / "toy", lines)
    sha = hashlib.sha256((folder / "001.wav").read_bytes()).hexdigest()
    rows = prepare(folder, save)["train"]
    assert rows == {
        "001": {
            "wav": "{data_root}/001.wav",
            "audio_sha": sha[:16],
            "signal_sha": check_audio(folder / "001.wav")["signal_sha"],
            "sample_rate": 16000,
            "duration": 0.2,
            "emo": "happy",
            "speaker": "7",
            "gender": "male",
            "corpus": "toy",
            "language": "en",
            "phones": [],
            "phone_set": "",
        }
    }
    assert re.fullmatch("[0-9a-f]{16}", rows["001"]["audio_sha"])


def test_what_the_table_does_not_say_is_unknown(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({}))
    row = prepare(folder, save)["train"]["001"]
    assert row["emo"] is None
    assert {row[k] for k in ("speaker", "gender", "language")} == {"unknown"}


def test_a_table_of_paths_alone_is_an_unlabelled_corpus(tmp_path, save):
    lines = [{"path": f"take_{n}_a.wav"} for n in range(3)]
    manifests = prepare(write_corpus_of(tmp_path / "toy", lines), save)
    for split in SPLITS:
        assert column(manifests[split], "emo") == {None}


def test_the_duration_is_in_seconds_at_any_rate(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({}))
    soundfile.write(folder / "001.wav", np.eye(12000, 2), 48000)
    assert prepare(folder, save)["train"]["001"]["duration"] == 0.25


def test_rows_are_sorted_by_id_whatever_the_order_of_the_table(tmp_path, save):
    lines = [{"path": f"{n:03d}.wav", **r} for n, r in enumerate(by_speaker(5))]
    folder = write_corpus_of(tmp_path / "toy", lines)
    before = prepare(folder, save)
    random.Random(0).shuffle(lines)
    write_table(folder / "labels.csv", lines)
    after = prepare(folder, save)
    for split in SPLITS:
        assert list(before[split]) == sorted(before[split])
        assert list(after[split].items()) == list(before[split].items())


def test_a_second_run_writes_the_same_bytes(ten_speakers, tmp_path):
    for name in ("a", "b"):
        prepare(ten_speakers, tmp_path / name)
    prepare(ten_speakers, tmp_path / "b")
    for name in FOUR_FILES:
        expected = (tmp_path / "a" / name).read_bytes()
        assert (tmp_path / "b" / name).read_bytes() == expected


def test_a_run_leaves_the_four_files_and_what_spares_work(ten_speakers, save):
    prepare(ten_speakers, save)
    left = sorted(p.name for p in save.iterdir())
    assert left == sorted([*FOUR_FILES, "audio_cache.json", "prep_stamp.json"])


def test_an_empty_split_is_an_error_and_leaves_no_mixture(
    ten_speakers, tmp_path, save
):
    prepare(ten_speakers, save)
    before = {name: (save / name).read_bytes() for name in FOUR_FILES}
    lines = [line for line in in_splits({}) if line["split"] != "valid"]
    folder = write_corpus_of(tmp_path / "toy", lines)
    with pytest.raises(UserError, match="the split valid is empty"):
        prepare(folder, save)
    for name, content in before.items():
        assert (save / name).read_bytes() == content


def test_a_missing_corpus_folder_names_what_the_parent_holds(tmp_path, save):
    for name in ("esd", "emodb"):
        (tmp_path / "corpora" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="holds: emodb, esd") as error:
        prepare(tmp_path / "corpora/emo-db", save, corpus="emo-db")
    assert str(tmp_path / "corpora/emo-db") in str(error.value)


def test_a_missing_data_folder_shows_no_other_folder(tmp_path, save):
    with pytest.raises(UserError) as error:
        prepare(tmp_path / "data/emodb", save, corpus="emodb")
    message = str(error.value)
    assert f"does not exist; nor does {tmp_path}/data." in message
    assert "--data_folder" in message
    assert "holds:" not in message


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"min_duration": 0.3}, "min_duration: 0.3 and max_duration: None"),
        ({"max_duration": 0.15}, "min_duration: 0.1 and max_duration: 0.15"),
    ],
)
def test_a_limit_that_leaves_no_row_is_named(limits, said, ten_speakers, save):
    for number in (3, 9):
        write_wav(ten_speakers / f"{number:03d}.wav", 90 + number, 4000)
    message = r"none of its 40 utterances, of 0\.2 to 0\.25 seconds, .* "
    with pytest.raises(UserError, match=message + said):
        prepare(ten_speakers, save, **limits)


def test_a_step_that_empties_a_split_is_named(tmp_path, save):
    folder = write_corpus_of(tmp_path / "toy", in_splits({}, {}))
    write_wav(folder / "004.wav", 4, 900)  # the only test row
    with pytest.raises(UserError, match=r"split test is empty; .* by duration"):
        prepare(folder, save)


def test_a_corpus_without_a_reader_names_both_ways(tmp_path, save):
    (tmp_path / "esd/0001").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        prepare(tmp_path / "esd", save, corpus="nobody_knows")
    message = str(error.value)
    assert "holds no labels.csv (found: 0001)" in message
    assert "data_prep/nobody_knows_prepare.py" in message


def test_a_corpus_of_its_own_is_read_by_its_own_file(
    tmp_path, save, monkeypatch
):
    (tmp_path / "readers").mkdir()
    (tmp_path / "readers/toy_prepare.py").write_text(TOY_READER)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    options = PrepOptions(split_seed=3)
    prepare_corpus(
        "toy", str(tmp_path), save, options, tmp_path / "readers", splits=[1]
    )
    seen = (save.parent / "seen").read_text()
    assert seen == repr(("toy", str(tmp_path), str(save), options, [1]))


def test_an_error_within_a_reader_is_not_taken_for_no_reader(tmp_path, save):
    (tmp_path / "toy_prepare.py").write_text("import no_such_package")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        prepare_corpus("toy", tmp_path, save, PrepOptions(), tmp_path)
