"""TextGrids and the sets of their phones."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import write_table, write_wav
from toy_podcasts import (
    KEPT,
    READ,
    WORDS,
    all_rows,
    column,
    prepare,
    textgrid,
    write_podcast,
    write_textgrid,
)

from lam_sb.corpora.textgrids import check_alignment, read_phones
from lam_sb.errors import UserError


@pytest.fixture
def msp(tmp_path) -> Path:
    return write_podcast(tmp_path / "msp")


@pytest.mark.parametrize(
    "place",
    [
        "ForceAligned",
        "TextGrid",
        "TextGrids",
        "MFA",
        "Alignments",
        "ForceAligned/ForceAligned",
    ],
)
def test_alignments_are_found_in_their_variants(place, msp):
    name = "MSP-PODCAST_0001_0010"
    write_textgrid(msp / place / f"{name}.TextGrid")
    manifests = prepare(msp)
    assert manifests["train"][name]["phones"] == READ
    counts = {"missing alignment": 43, "with phones": 1}
    assert manifests["prep_report"]["alignments"] == counts


def test_rows_without_phones_are_dropped_where_they_are_required(msp):
    aligned = ["0001_0000", "0002_0030", "0004_0080", "0005_0090"]
    for name in aligned:
        write_textgrid(msp / f"ForceAligned/MSP-PODCAST_{name}.TextGrid")
    silent = textgrid({"words": [], "phones": [(0, 1, "sil")]})
    for name, text in (("0001_0001", silent), ("0001_0002", "no TextGrid")):
        path = msp / f"ForceAligned/MSP-PODCAST_{name}.TextGrid"
        write_textgrid(path, text)
    report = prepare(msp, require_alignment=True)["prep_report"]
    assert report["splits"] == {
        "train": {"neutral": 1, "sad": 1},
        "valid": {"sad": 1},
        "test": {"happy": 1},
    }
    assert report["steps"][-1]["step"] == "alignment"
    assert report["steps"][-1]["dropped"] == {
        "missing alignment": 38,  # of 44
        "alignment without phones": 1,
        "unreadable alignment": 1,
    }
    kept = prepare(msp)["prep_report"]
    assert kept["splits"] == KEPT
    assert kept["alignments"] == report["alignments"]


def test_no_alignment_at_all_is_an_error_where_they_are_required(msp):
    with pytest.raises(UserError, match=r"no row has.*alignment_dir"):
        prepare(msp, require_alignment=True)
    with pytest.raises(UserError, match=r"TextGrid in mine .*Audios, Labels"):
        prepare(msp, alignment_dir="mine")


def test_an_alignment_dir_may_lie_anywhere(msp, tmp_path):
    name = "MSP-PODCAST_0001_0010"
    write_textgrid(tmp_path / f"out/{name}.TextGrid")
    manifests = prepare(msp, alignment_dir=str(tmp_path / "out"))
    assert manifests["train"][name]["phones"] == READ


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_textgrids_are_read_in_each_form_and_encoding(
    short, encoding, tmp_path
):
    phones = [(0, 0.5, "ʂ"), (0.5, 1, "a˥˩")]
    text = textgrid({"words": WORDS, "phones": phones}, short)
    write_textgrid(tmp_path / "a.TextGrid", text, encoding)
    expected = [["ʂ", 0.0, 0.5], ["a˥˩", 0.5, 1.0]]
    assert read_phones(tmp_path / "a.TextGrid") == expected


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["words", "phones"], 1),
        (["phone", "words"], 0),
        (["Phones", "words"], 0),
        (["30 - words", "30 - phones", "31 - words", "31 - phones"], 3),
        (["phones", "A -phones", "telephones"], 1),
        (["words", "phonesets"], None),
    ],
)
def test_the_last_tier_of_phones_is_read(names, chosen, tmp_path):
    tiers = {name: [(0, 1, f"P{n}")] for n, name in enumerate(names)}
    write_textgrid(tmp_path / "a.TextGrid", textgrid(tiers))
    expected = [] if chosen is None else [[f"P{chosen}", 0.0, 1.0]]
    assert read_phones(tmp_path / "a.TextGrid") == expected


def test_silences_are_no_phones(tmp_path):
    names = ["", "sil", "sp", "spn", "<eps>", "[SIL]", "<sil>", "SIL", "S", " "]
    entries = [(n / 10, (n + 1) / 10, p) for n, p in enumerate(names)]
    write_textgrid(tmp_path / "a.TextGrid", textgrid({"phones": entries}))
    assert read_phones(tmp_path / "a.TextGrid") == [["S", 0.8, 0.9]]


def test_phones_that_overlap_by_rounding_are_cut(tmp_path):
    entries = [(0, 0.301, "AH0"), (0.3, 0.7, "N"), (0.6993, 0.9, "sil")]
    entries += [(0.6996, 1, "D"), (0.9995, 1, "T")]
    text = textgrid(
        {"words": [(0, 1, "and"), (0.5, 1, "x")], "phones": entries}
    )
    write_textgrid(tmp_path / "a.TextGrid", text)
    assert read_phones(tmp_path / "a.TextGrid") == [
        *(["AH0", 0.0, 0.301], ["N", 0.301, 0.7], ["D", 0.7, 1.0]),
    ]
    assert "phones" in check_alignment(tmp_path / "a.TextGrid")


@pytest.mark.parametrize(
    "entries", [[(0, 0.5, "S"), (0.4985, 1, "T")], [(0.5, 0.4, "S")]]
)
def test_phones_that_overlap_by_more_are_unreadable(entries, tmp_path):
    text = textgrid({"phones": entries})
    write_textgrid(tmp_path / "a.TextGrid", text)
    problem = {"problem": "unreadable alignment"}
    assert check_alignment(tmp_path / "a.TextGrid") == problem
    write_textgrid(tmp_path / "a.TextGrid", "17")
    assert check_alignment(tmp_path / "a.TextGrid") == problem


def test_labels_csv_may_name_alignments(tmp_path):
    lines = [
        {"path": f"{n}.wav", "speaker": n, "alignment": f"tg/{n}.TextGrid"}
        for n in range(4)
    ]
    lines[3]["alignment"] = ""
    for n in range(4):
        write_wav(tmp_path / f"c/{n}.wav", n)
    write_table(tmp_path / "c/labels.csv", lines)
    write_textgrid(tmp_path / "c/tg/1.TextGrid")
    manifests = prepare(tmp_path / "c", "mine")
    phones = column(all_rows(manifests), "phones")
    assert phones == {"0": [], "1": READ, "2": [], "3": []}
    sets = column(all_rows(manifests), "phone_set")
    assert sets == {"0": "", "1": "arpa", "2": "", "3": ""}
    counts = {"missing alignment": 3, "with phones": 1}
    assert manifests["prep_report"]["alignments"] == counts
    named = prepare(tmp_path / "c", "mine", phone_set="pinyin")
    assert named["prep_report"]["phones"]["foreign"] == {"AY1": 1, "HH": 1}


def test_a_changed_alignment_is_read_again(msp):
    name = "MSP-PODCAST_0001_0010"
    path = msp / f"ForceAligned/{name}.TextGrid"
    write_textgrid(path)
    assert prepare(msp)["train"][name]["phones"] == READ
    write_textgrid(path, textgrid({"phones": [(0, 0.5, "M")]}))
    assert prepare(msp)["train"][name]["phones"] == [["M", 0.0, 0.5]]
    path.unlink()
    assert prepare(msp)["train"][name]["phones"] == []


def write_phones(folder: Path, number: int, *labels: str) -> str:
    """Give the n-th training row these phones; return its id."""
    name = f"MSP-PODCAST_0001_00{number:02d}"
    entries = [(n / 20, (n + 1) / 20, p) for n, p in enumerate(labels)]
    text = textgrid({"phones": entries})
    write_textgrid(folder / f"ForceAligned/{name}.TextGrid", text)
    return name


def test_rows_and_report_say_which_set_the_phones_are_of(msp):
    aligned = [
        write_phones(msp, 10, "DH", "AH0"),
        write_phones(msp, 11, "K", "AE1", "T"),
    ]
    manifests = prepare(msp)
    sets = column(all_rows(manifests), "phone_set")
    assert {i for i, name in sets.items() if name == "arpa"} == {*aligned}
    assert {name for i, name in sets.items() if i not in aligned} == {""}
    report = manifests["prep_report"]
    assert report["options"]["phone_set"] == "auto"
    assert report["phones"] == {"phone_set": "arpa", "rows": 2, "foreign": {}}


def test_without_phones_there_is_no_set(msp):
    report = prepare(msp, phone_set="pinyin")["prep_report"]
    assert report["phones"] == {"phone_set": "", "rows": 0, "foreign": {}}


def test_only_the_rows_that_are_kept_decide_the_set(msp):
    write_phones(msp, 10, "DH", "AH0")
    name = write_phones(msp, 11, "zh", "ong1")
    (msp / f"Audios/{name}.wav").unlink()
    assert prepare(msp)["prep_report"]["phones"]["phone_set"] == "arpa"


def test_a_mixture_of_two_sets_is_refused_where_phones_are_required(msp):
    write_phones(msp, 10, "DH", "AH0", "B", "T")
    write_phones(msp, 11, "zh", "ong1")
    with pytest.raises(UserError, match=r"^msp_podcast: the .* ong1, zh\."):
        prepare(msp, require_alignment=True)
    assert not (msp.parent / "manifests/msp_podcast/train.json").exists()


def test_a_mixture_of_two_sets_is_left_aside_and_said(msp):
    write_phones(msp, 10, "DH", "AH0", "B", "T")
    write_phones(msp, 11, "zh", "ong1")
    manifests = prepare(msp)
    rows = all_rows(manifests).values()
    assert {(str(r["phones"]), r["phone_set"]) for r in rows} == {("[]", "")}
    report = manifests["prep_report"]
    problem = report["phones"]["problem"]
    assert problem.startswith("The alignments of msp_podcast are not used: the")
    assert "ong1, zh. Name the set with the option phone_set" in problem
    assert problem in report["notes"]
    assert report["phones"]["rows"] == 2


def test_phones_that_a_named_set_does_not_have_are_counted(msp):
    aligned = write_phones(msp, 10, "DH", "AH0", "[noise]", "zh", "[noise]")
    manifests = prepare(msp, phone_set="arpa")
    row = manifests["train"][aligned]
    assert row["phone_set"] == "arpa"
    assert [p for p, _, _ in row["phones"]][2:] == ["[noise]", "zh", "[noise]"]
    assert manifests["prep_report"]["phones"] == {
        "phone_set": "arpa",
        "rows": 1,
        "foreign": {"[noise]": 2, "zh": 1},
    }


def test_phones_of_several_sets_need_a_name(msp):
    name = write_phones(msp, 10, "k", "i")
    problem = prepare(msp)["prep_report"]["phones"]["problem"]
    assert "alike: i, k. Name the set with the option phone_set" in problem
    manifests = prepare(msp, phone_set="mfa_mandarin")
    assert manifests["train"][name]["phone_set"] == "mfa_mandarin"


def test_an_unknown_phone_set_is_refused(msp):
    with pytest.raises(UserError, match=r"phone_set is 'ipa'; use .* pinyin"):
        prepare(msp, phone_set="ipa")
