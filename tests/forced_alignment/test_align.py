"""The command align, on the demo's speech, whose phone times are known."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import write_table
from praatio import textgrid

from data_prep.demo_prepare import CORPORA, plan
from lam_sb.__main__ import ALIGN, main
from lam_sb.corpora.phones import phone_class
from lam_sb.corpora.textgrids import APPROXIMATE_TIER
from lam_sb.errors import UserError
from lam_sb.forced_alignment import align as module

NAMES = ("a", "b")  # of two utterances of the demo
OTHERS = {
    "no_text": ("", "en"),
    "no_language": ("Hello.", ""),
    "klingon": ("Hello.", "xyz"),
    "no_sound": ("...", "en"),
    "broken": ("Hello.", "en"),
    "missing": ("Hello.", "en"),
    "zeros": ("Hello.", "en"),
}


@pytest.fixture
def lines() -> list:
    return plan(CORPORA["msp_podcast"], seed=0)[:2]


@pytest.fixture
def corpus(demo, lines, tmp_path) -> Path:
    """Two utterances with texts."""
    folder = tmp_path / "corpus"
    (folder / "audio").mkdir(parents=True)
    for name, line in zip(NAMES, lines, strict=True):
        audio = demo / f"msp_podcast/Audios/{line.name}.wav"
        shutil.copyfile(audio, folder / f"audio/{name}.wav")
    write_labels(
        folder,
        {n: (line.text, "en") for n, line in zip(NAMES, lines, strict=True)},
    )
    return folder


def write_labels(folder: Path, rows: dict[str, tuple], **more: str) -> None:
    table = [
        {"path": f"audio/{name}.wav", "text": text, "language": language} | more
        for name, (text, language) in rows.items()
    ]
    write_table(folder / "labels.csv", table)


def tiers(path: Path) -> dict[str, list]:
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    return {name: [*grid.getTier(name).entries] for name in grid.tierNames}


def of(corpus: Path, name: str) -> Path:
    return corpus / f"TextGrids/audio/{name}.TextGrid"


def test_phones_lie_where_they_were_spoken(corpus, demo, lines):
    main(["align", str(corpus)])
    for name, line in zip(NAMES, lines, strict=True):
        ours = tiers(of(corpus, name))
        assert [*ours] == ["words", APPROXIMATE_TIER]
        true = tiers(demo / f"msp_podcast/ForceAligned/{line.name}.TextGrid")
        phones = ours[APPROXIMATE_TIER]
        assert len(phones) == len(true["phones"])
        words = [entry.label for entry in ours["words"]]
        assert words == [entry.label for entry in true["words"]]
        for found, known in ((phones, "phones"), (ours["words"], "words")):
            errors = [
                abs(a.start - b.start) + abs(a.end - b.end)
                for a, b in zip(found, true[known], strict=True)
            ]
            assert np.mean(errors) / 2 < 0.03  # 10 ms, and 100 without warping
        assert [
            phone_class(p.label, "espeak") == "consonant" for p in phones
        ] == [
            phone_class(p.label, "arpa") == "consonant" for p in true["phones"]
        ]


def test_rows_that_cannot_be_aligned_are_counted(corpus, lines, capsys):
    rows = {n: (line.text, "en") for n, line in zip(NAMES, lines, strict=True)}
    write_labels(corpus, rows | OTHERS)
    for name in OTHERS:
        shutil.copyfile(corpus / "audio/a.wav", corpus / f"audio/{name}.wav")
    (corpus / "audio/broken.wav").write_bytes(b"RIFF")
    (corpus / "audio/missing.wav").unlink()
    soundfile.write(corpus / "audio/zeros.wav", np.zeros(16000), 16000)
    main(["align", str(corpus)])
    assert capsys.readouterr().out == (
        f"2 TextGrids written to {corpus}/TextGrids, 0 were there; skipped: "
        "1 in a language that eSpeak NG does not have (xyz), "
        "1 of digital silence, 2 of unreadable audio, 1 with a text that has "
        "no sound, 1 without a language, 1 without a text. Their times are "
        "approximate, and each report on them says so.\n"
    )
    assert {p.stem for p in corpus.rglob("*.TextGrid")} == {*NAMES}


def test_what_is_too_long_is_left_out(corpus, capsys, monkeypatch):
    seconds = [
        soundfile.info(corpus / f"audio/{n}.wav").duration for n in NAMES
    ]
    monkeypatch.setattr(module, "LONGEST", sum(seconds) / 2)
    main(["align", str(corpus)])
    said = capsys.readouterr().out
    assert said.startswith("1 TextGrids written")
    assert "skipped: 1 longer than " in said


def test_one_that_goes_on_gives_the_same_bytes(corpus, capsys):
    main(["align", str(corpus)])
    first, second = (of(corpus, name) for name in NAMES)
    before, untouched = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    capsys.readouterr()
    main(["align", str(corpus)])
    assert "1 TextGrids written" in (said := capsys.readouterr().out)
    assert "1 were there" in said
    assert second.read_bytes() == before
    assert first.stat().st_mtime_ns == untouched


def test_textgrids_of_another_tool_stay(corpus, tmp_path, capsys):
    main(["align", str(corpus)])
    path = of(corpus, "b")
    text = path.read_text().replace(APPROXIMATE_TIER, "phones")
    path.write_text(text)
    message = "1 TextGrids are there that another tool made.*--output FOLDER"
    with pytest.raises(UserError, match=message):
        main(["align", str(corpus)])
    assert path.read_text() == text
    capsys.readouterr()
    main(["align", str(corpus), "--output", str(tmp_path / "else")])
    assert (tmp_path / "else/audio/b.TextGrid").is_file()
    assert f"{{alignment_dir: {tmp_path / 'else'}}}" in capsys.readouterr().out


def test_the_language_is_the_tables_or_the_options(corpus, lines):
    table = [
        {"file": f"audio/{n}.wav", "transcript": line.text}
        for n, line in zip(NAMES, lines, strict=True)
    ]
    write_table(corpus / "labels.csv", table)
    with pytest.raises(UserError, match=r"column language.*--language CODE"):
        main(["align", str(corpus)])
    main(["align", str(corpus), "--language", "de"])
    german = {p.label for p in tiers(of(corpus, "a"))[APPROXIMATE_TIER]}
    shutil.rmtree(corpus / "TextGrids")
    main(["align", str(corpus), "--language", "en"])
    english = {p.label for p in tiers(of(corpus, "a"))[APPROXIMATE_TIER]}
    assert german != english


def test_a_corpus_of_which_nothing_is_left_is_an_error(corpus):
    write_labels(corpus, {"a": ("", "en"), "b": ("Hello.", "xyz")})
    with pytest.raises(UserError, match=r"No row of .* can be aligned: 1 in a"):
        main(["align", str(corpus)])


def test_two_rows_of_one_textgrid_are_refused(corpus):
    write_labels(corpus, dict.fromkeys(("a", "./a"), ("Hello.", "en")))
    with pytest.raises(UserError, match="give their audio files different"):
        main(["align", str(corpus)])


def test_a_table_without_texts_is_refused(corpus):
    write_table(corpus / "labels.csv", [{"path": "audio/a.wav", "lang": "en"}])
    with pytest.raises(UserError, match=r"needs one column text in labels.csv"):
        main(["align", str(corpus)])


def test_a_column_of_alignments_goes_before_the_textgrids(
    corpus, lines, caplog
):
    rows = {n: (line.text, "en") for n, line in zip(NAMES, lines, strict=True)}
    write_labels(corpus, rows, textgrid="mfa.TextGrid")
    main(["align", str(corpus)])
    said = "2 rows of labels.csv name a TextGrid in the column 'textgrid'"
    assert said in caplog.text
    write_labels(corpus, rows, textgrid="")
    caplog.clear()
    main(["align", str(corpus)])
    assert not caplog.records


def test_unknown_phones_are_named_with_what_to_type(
    corpus, lines, caplog, monkeypatch
):
    class_of = module.phone_class
    monkeypatch.setattr(
        module, "phone_class", lambda p, s: p != "ð" and class_of(p, s)
    )
    write_labels(corpus, {"a": ("The other one.", "en")})
    main(["align", str(corpus)])
    assert "1 phones are not in the phone set espeak: ð. " in caplog.text
    assert '--source_options "{phone_set: espeak}"' in caplog.text


def test_help_explains_the_command(capsys):
    main(["align", "--help"])
    assert capsys.readouterr().out == ALIGN + "\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "The following arguments are required: corpus; use python -m"),
        (["none"], "none holds no labels.csv: give the folder"),
        (["a", "--voice", "f1"], "Unrecognized arguments: --voice f1; use"),
    ],
)
def test_a_wrong_command_line_says_what_to_type(argv, message):
    with pytest.raises(UserError, match=re.escape(message)):
        main(["align", *argv])
