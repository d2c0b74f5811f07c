"""Open corpora in their original names, with counts worked out by hand."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import write_table, write_wav
from toy_originals import CHINESE, ENGLISH, esd_names, write_named
from toy_podcasts import all_rows, prepare

from lam_sb.corpora.manifests import SPLITS
from lam_sb.errors import UserError


def test_emodb_is_read_in_its_own_names(tmp_path):
    speakers = {"03": "male", "08": "female", "14": "female", "15": "male"}
    names = [
        f"wav/{speaker}{text}{emotion}{version}.wav"
        for speaker in speakers
        for text, version in (("a01", "a"), ("b10", "c"))
        for emotion in "WFTNLEA"
    ]
    manifests = prepare(write_named(tmp_path / "emodb", names), "emodb")
    rows = all_rows(manifests)
    assert len(rows) == 56
    emotions = [rows[f"03a01{e}a"]["emo"] for e in "WFTNLEA"]
    four = ["angry", "happy", "sad", "neutral"]
    assert emotions == [*four, None, None, None]
    genders = {r["speaker"]: r["gender"] for r in rows.values()}
    assert genders == {f"emodb_{s}": g for s, g in speakers.items()}
    assert {r["language"] for r in rows.values()} == {"de"}
    counts = {"anxiety": 8, "boredom": 8, "disgust": 8}
    assert manifests["prep_report"]["facts"] == {"unlabelled": counts}


def ravdess_names(actors=range(1, 6), kind: str = "03-01") -> list[str]:
    return [
        f"Actor_{actor:02d}/{kind}-{emotion:02d}-01-02-01-{actor:02d}.wav"
        for actor in actors
        for emotion in range(1, 9)
    ]


def test_ravdess_is_read_in_its_own_names(tmp_path):
    folder = write_named(tmp_path / "ravdess", ravdess_names())
    manifests = prepare(folder, "ravdess")
    rows = all_rows(manifests)
    emotions = [rows[f"03-01-{e:02d}-01-02-01-04"]["emo"] for e in range(1, 9)]
    four = ["neutral", None, "happy", "sad", "angry"]  # 02 is calm
    assert emotions == [*four, None, None, None]
    genders = {r["speaker"]: r["gender"] for r in rows.values()}
    expected = ["male", "female", "male", "female", "male"]
    assert genders == {f"ravdess_0{n}": g for n, g in enumerate(expected, 1)}
    counts = {"calm": 5, "disgust": 5, "fearful": 5, "surprised": 5}
    assert manifests["prep_report"]["facts"] == {"unlabelled": counts}
    rows = all_rows(prepare(folder, "ravdess", label_map={"calm": "neutral"}))
    assert rows["03-01-02-01-02-01-04"]["emo"] == "neutral"


def test_songs_videos_and_copies_are_counted_not_read(tmp_path):
    names = ravdess_names()  # 40
    folder = write_named(tmp_path / "r", names)
    shutil.copytree(folder / "Actor_01", folder / "copy")  # 8
    songs = ravdess_names([1], "03-02") + ravdess_names([1], "01-02")  # 16
    names = [*songs, *ravdess_names([2], "01-01")]  # 8
    names += ["Actor_01/note.wav", "Actor_01/._03-01-01-01-02-01-01.wav"]
    manifests = prepare(write_named(folder, names), "ravdess")
    assert len(all_rows(manifests)) == 40
    steps = manifests["prep_report"]["steps"]
    assert steps[0]["dropped"] == {
        "another kind of file name": 1,
        "copy of a file of the same name": 8,
        "song": 16,
        "sound of a video": 8,
    }


@pytest.mark.parametrize("suffix", ["wav", "flac", "WAV"])
def test_original_names_are_found_anywhere_in_wav_or_flac(suffix, tmp_path):
    for number, name in enumerate(ravdess_names()):
        path = tmp_path / "r/speech/all" / Path(name).with_suffix(f".{suffix}")
        write_wav(path, number)
    rows = all_rows(prepare(tmp_path / "r", "ravdess"))
    assert len(rows) == 40
    wav = rows["03-01-01-01-02-01-01"]["wav"]
    place = "{data_root}/speech/all/Actor_01"
    assert wav == f"{place}/03-01-01-01-02-01-01.{suffix}"


def test_cremad_is_read_in_its_own_names(tmp_path):
    names = [
        f"AudioWAV/{actor}_DFA_{emotion}_XX.wav"
        for actor in range(1001, 1006)
        for emotion in ("ANG", "HAP", "NEU", "SAD", "DIS", "FEA")
    ]
    odd = "AudioWAV/1001_DFA_XXX_XX.wav"
    folder = write_named(tmp_path / "cremad", [*names, odd])
    manifests = prepare(folder, "cremad")
    report = manifests["prep_report"]
    assert report["skipped"] == {odd: "another kind of file name"}
    rows = all_rows(manifests)
    assert {r["gender"] for r in rows.values()} == {"unknown"}
    lines = [
        {"ActorID": a, "Age": 51, "Sex": s}
        for a, s in ((1001, "Male"), (1002, "Female"))
    ]
    write_table(folder / "VideoDemographics.csv", lines)
    manifests = prepare(folder, "cremad")
    rows = all_rows(manifests)
    emotions = Counter(r["emo"] for r in rows.values())
    four = dict.fromkeys(("angry", "happy", "neutral", "sad"), 5)
    assert emotions == {**four, None: 10}
    assert rows["1001_DFA_ANG_XX"]["gender"] == "male"
    assert rows["1002_DFA_ANG_XX"]["gender"] == "female"
    assert rows["1003_DFA_ANG_XX"]["speaker"] == "cremad_1003"
    counts = {"disgust": 5, "fear": 5}
    assert manifests["prep_report"]["facts"] == {"unlabelled": counts}


@pytest.mark.parametrize(
    "layout",
    [
        "{spk}/{emo}/{utt}",
        "{spk}/{emo}/{part}/{utt}",
        "{part}/{spk}/{emo}/{utt}",
        "Emotional Speech Dataset (ESD)/{spk}/{emo}/{utt}",
    ],
)
@pytest.mark.parametrize("chinese", [ENGLISH, CHINESE])
def test_esd_is_read_in_its_layouts(layout, chinese, tmp_path):
    names = esd_names(layout, chinese)
    manifests = prepare(write_named(tmp_path / "esd", names), "esd")
    rows = all_rows(manifests)
    assert len(rows) == 90  # 6 speakers, 5 emotions, 3 takes
    for speaker, language in (("0010", "zh"), ("0011", "en")):
        emotions = [rows[f"{speaker}_{e * 3:06d}"]["emo"] for e in range(5)]
        assert emotions == ["neutral", "happy", "sad", "angry", None]
        row = rows[f"{speaker}_000000"]
        assert (row["speaker"], row["language"]) == (f"esd_{speaker}", language)
    counts = manifests["prep_report"]["facts"]["unlabelled"]
    assert sum(counts.values()) == 18
    assert set(counts) == {"Surprise", chinese[4]}


@pytest.mark.parametrize(
    ("language", "speakers"),
    [
        ("zh", {"esd_0001", "esd_0002", "esd_0010"}),
        ("en", {"esd_0011", "esd_0012", "esd_0020"}),
    ],
)
def test_esd_gives_one_of_its_languages_under_any_name(
    language, speakers, tmp_path
):
    folder = write_named(tmp_path / "esd", esd_names())
    name = f"esd_{language}"
    manifests = prepare(folder, name, reader="esd", language=language)
    rows = all_rows(manifests)
    assert {r["speaker"] for r in rows.values()} == speakers
    assert {r["corpus"] for r in rows.values()} == {name}
    dropped = manifests["prep_report"]["steps"][0]["dropped"]
    other = {"en": "zh", "zh": "en"}[language]
    assert dropped == {f"language {other}": 45}
    with pytest.raises(UserError, match=r"language is 'de'.*both, en, zh"):
        prepare(folder, "esd", language="de")


def test_the_reader_that_is_named_goes_before_a_table(tmp_path):
    folder = write_named(tmp_path / "esd", esd_names())
    paths = [path.relative_to(folder) for path in folder.rglob("*.wav")]
    write_table(folder / "labels.csv", [{"path": path} for path in paths])
    rows = all_rows(prepare(folder, "esd"))
    assert {r["emo"] for r in rows.values()} == {None}
    rows = all_rows(prepare(folder, "mine", reader="esd"))
    assert {r["emo"] for r in rows.values()} > {"angry", "sad"}


def test_the_subfolders_of_esd_are_splits_only_if_asked_for(tmp_path):
    names = esd_names("{spk}/{emo}/{part}/{utt}")
    folder = write_named(tmp_path / "esd", names)
    report = prepare(folder, "esd")["prep_report"]
    assert not any(report["speakers_in_two_splits"].values())
    report = prepare(folder, "esd", splits={"valid": "evaluation"})[
        "prep_report"
    ]
    part = {"angry": 6, "happy": 6, "neutral": 6, "none": 6, "sad": 6}
    assert report["splits"] == dict.fromkeys(SPLITS, part)
    assert len(report["speakers_in_two_splits"]["train+test"]) == 6


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"]
)
def test_the_texts_of_esd_serve_where_no_folder_names_the_emotion(
    encoding, tmp_path
):
    names = esd_names("{spk}/{utt}")
    folder = write_named(tmp_path / "esd", names)
    for speaker in ("0001", "0002", "0010", "0011", "0012", "0020"):
        words = CHINESE if speaker < "0011" else ENGLISH
        lines = [
            f"{speaker}_{e * 3 + k:06d}\t打远一看\t{words[e]}"
            for e in range(5)
            for k in range(3)
        ]
        text = folder / f"{speaker}/{speaker}.txt"
        text.write_bytes("\r\n".join(lines).encode(encoding))
    rows = all_rows(prepare(folder, "esd"))
    for speaker in ("0010", "0011"):
        emotions = [rows[f"{speaker}_{e * 3:06d}"]["emo"] for e in range(5)]
        assert emotions == ["neutral", "happy", "sad", "angry", None]
    (folder / "0012/0012.txt").unlink()
    with pytest.raises(UserError, match=r"0012_000000.*0012\.txt"):
        prepare(folder, "esd")


@pytest.mark.parametrize("corpus", ["esd", "emodb", "ravdess", "cremad"])
def test_a_folder_of_other_files_is_an_error_that_names_them(corpus, tmp_path):
    write_named(tmp_path / corpus, ["sounds/hello.wav"])
    with pytest.raises(UserError) as error:
        prepare(tmp_path / corpus, corpus)
    message = str(error.value)
    assert "1 other audio files, sounds/hello.wav the first" in message
    assert "The folder holds: sounds." in message


def test_a_labels_csv_goes_before_the_original_names(tmp_path):
    folder = write_named(tmp_path / "ravdess", ravdess_names())
    lines = [{"path": name, "speaker": name[:8]} for name in ravdess_names()]
    write_table(folder / "labels.csv", lines)
    rows = all_rows(prepare(folder, "ravdess"))
    assert {r["emo"] for r in rows.values()} == {None}
