"""Two files under one name: copies, or different recordings."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE, write_wav
from toy_corpora import prepare as prepare_csv
from toy_corpora import write_corpus_of
from toy_originals import write_named
from toy_podcasts import all_rows, prepare, write_podcast

from lam_sb.errors import UserError

CREMAD = [
    f"AudioWAV/{actor}_DFA_{emotion}_XX.wav"
    for actor in range(1001, 1006)
    for emotion in ("ANG", "HAP", "NEU", "SAD")
]


def test_a_second_microphone_is_no_copy(tmp_path):
    folder = write_named(tmp_path / "cremad", CREMAD)
    write_wav(folder / "Lapel/1003_DFA_SAD_XX.wav", 77)
    with pytest.raises(UserError) as error:
        prepare(folder, "cremad")
    message = str(error.value)
    assert message.startswith("cremad: 1 names stand for different recordings")
    name = "1003_DFA_SAD_XX.wav"
    assert f"AudioWAV/{name} and Lapel/{name} in {folder}" in message
    assert "--target_folder" in message
    part = prepare(folder / "AudioWAV", "cremad")
    assert len(all_rows(part)) == 20


def test_a_copy_in_another_format_is_dropped_and_counted(tmp_path):
    folder = write_named(tmp_path / "cremad", CREMAD)
    samples, rate = soundfile.read(folder / CREMAD[0], dtype="int16")
    flac = folder / "flac" / Path(CREMAD[0]).with_suffix(".flac").name
    flac.parent.mkdir()
    soundfile.write(flac, samples, rate)
    before = all_rows(prepare(folder, "cremad"))
    assert len(before) == 20
    report = prepare(folder, "cremad")["prep_report"]
    dropped = {"copy of a file of the same name": 1}
    assert report["steps"][0]["dropped"] == dropped
    # It may be the only one that can be read.
    (folder / CREMAD[0]).write_bytes(b"RIFF")
    after = all_rows(prepare(folder, "cremad"))
    row = after.pop(Path(CREMAD[0]).stem)
    assert row["wav"].endswith(".flac")
    assert after == {i: r for i, r in before.items() if i in after}
    assert len(after) == 19


def test_a_linked_folder_holds_no_copies(tmp_path):
    folder = write_podcast(tmp_path / "msp")
    (folder / "wav").symlink_to(folder / "Audios")
    rows = all_rows(prepare(folder)).values()
    assert len(rows) == 44
    assert {str(Path(row["wav"]).parent) for row in rows} == {
        "{data_root}/Audios"
    }
    assert not (tmp_path / "manifests/msp_podcast/copies_cache.json").exists()


def test_a_copy_that_changes_is_seen(tmp_path):
    folder = write_named(tmp_path / "cremad", CREMAD)
    (folder / "copy").mkdir()
    shutil.copy(folder / CREMAD[5], folder / "copy")
    prepare(folder, "cremad")
    write_wav(folder / "copy" / Path(CREMAD[5]).name, 99, 4000)
    with pytest.raises(UserError, match="different recordings"):
        prepare(folder, "cremad")


def test_podcasts_hold_one_recording_under_a_name(tmp_path):
    folder = write_podcast(tmp_path / "msp")
    name = "MSP-PODCAST_0004_0080.wav"
    (folder / "Audios/old").mkdir()
    shutil.copy(folder / "Audios" / name, folder / "Audios/old")
    assert len(all_rows(prepare(folder))) == 44
    write_wav(folder / "Audios/old" / name, 98)
    with pytest.raises(UserError, match=rf"{name} and Audios/old/{name}"):
        prepare(folder)
    # Names that no row asks for do not matter.
    (folder / "Audios/old" / name).unlink()
    for place in ("Audios", "Audios/old"):
        write_wav(folder / place / "outtake.wav", len(place))
    assert len(all_rows(prepare(folder))) == 44


def test_rows_of_one_stem_keep_ids_of_their_own(tmp_path):
    paths = ["x/1.wav", "x/1.flac", "y/1.wav", "y/2.wav", "3.wav"]
    lines = [
        {"path": p, "speaker": str(n), "emotion": "sad"}
        for n, p in enumerate(paths)
    ]
    folder = write_corpus_of(tmp_path / "toy", lines)
    rows = all_rows(prepare_csv(folder, tmp_path / "m"))
    assert set(rows) == {"x-1.wav", "x-1.flac", "y-1", "2", "3"}


def test_the_same_samples_in_another_format_are_a_duplicate(tmp_path):
    lines = [{"path": f"{n}.wav", "speaker": str(n)} for n in range(5)]
    lines.append({"path": "2.flac", "speaker": "2"})
    folder = write_corpus_of(tmp_path / "toy", lines)
    samples = np.arange(-900, 900, dtype=np.int16)
    for suffix in ("wav", "flac"):
        soundfile.write(folder / f"2.{suffix}", samples, RATE)
    report = prepare_csv(folder, tmp_path / "m")["prep_report"]
    assert report["skipped"] == {"2.flac": "same audio as an earlier row"}
