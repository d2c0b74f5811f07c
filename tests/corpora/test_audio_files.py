"""What a file holds: damage anywhere in it, and formats that are not read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE
from toy_corpora import by_speaker, prepare, write_corpus_of

from lam_sb.corpora.audio import CANCELLING, UNSUPPORTED, check_audio
from lam_sb.errors import UserError

NOISE = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)


def test_a_file_tells_its_duration_and_its_samples(tmp_path):
    samples = (NOISE * 2**15).astype(np.int16)
    found = []
    for name in ("a.wav", "a.flac", "a.aiff"):
        soundfile.write(tmp_path / name, samples, RATE)
        found.append(check_audio(tmp_path / name))
    assert [f["duration"] for f in found] == [1.0, 1.0, 1.0]
    assert len({f["signal_sha"] for f in found}) == 1
    assert len({f["audio_sha"] for f in found}) == 3
    for changed, rate in ((samples[::-1], RATE), (samples, 8000)):
        soundfile.write(tmp_path / "b.wav", changed, rate)
        other = check_audio(tmp_path / "b.wav")
        sha = other["signal_sha"]
        assert other["sample_rate"] == rate
        assert sha != found[0]["signal_sha"]


@pytest.mark.parametrize(
    "suffix",
    ["wav", "flac", "mp3", "aiff", "nist", "au", "w64", "rf64", "ogg", "opus"],
)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_file_that_ends_too_early_cannot_be_read(suffix, part, tmp_path):
    path = tmp_path / f"a.{suffix}"
    kind = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    soundfile.write(path, np.tile(NOISE, 3), RATE, **kind)
    assert check_audio(path)["duration"] == 3.0
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert check_audio(path)["problem"] == "unreadable audio"


def test_damage_within_a_flac_file_is_found(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, NOISE, RATE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    assert check_audio(path)["problem"] == "unreadable audio"


def test_a_header_that_is_a_little_off_does_no_harm(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, RATE)
    content = bytearray(path.read_bytes())
    assert content[36:40] == b"data"
    for size in (2 * RATE + 44, 0xFFFFFFFF):  # the file's; a pipe's
        content[40:44] = size.to_bytes(4, "little")
        path.write_bytes(content)
        assert check_audio(path)["duration"] == 1.0


def test_samples_that_are_no_numbers_are_a_problem(tmp_path):
    noise = NOISE.copy()
    noise[900] = np.nan
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    problem = check_audio(tmp_path / "a.wav")["problem"]
    assert problem == "audio with samples that are no numbers"


@pytest.mark.parametrize("level", [0, -0.25])
def test_digital_silence_is_a_problem(level, tmp_path):
    wav = np.full((RATE, 2), level, np.float32)
    soundfile.write(tmp_path / "a.wav", wav, RATE)
    problem = check_audio(tmp_path / "a.wav")["problem"]
    assert problem == "audio of digital silence"
    wav[-1] += 0.01  # one moment that differs
    soundfile.write(tmp_path / "a.wav", wav, RATE)
    assert check_audio(tmp_path / "a.wav")["duration"] == 1.0


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_the_last_page_of_an_ogg_file_is_its_end(subtype, tmp_path):
    path = tmp_path / "a.ogg"
    wav = np.tile(NOISE, 5)
    soundfile.write(path, wav, RATE, format="OGG", subtype=subtype)
    content = path.read_bytes()
    pages = [m.start() for m in re.finditer(b"OggS", content)]
    for end in (pages[-2], pages[-1], pages[-1] + 20, pages[-1] + 90):
        path.write_bytes(content[:end])
        assert check_audio(path)["problem"] == "unreadable audio"
    for behind in (b"", b"\0", b"TAG" + bytes(125), bytes(70_000)):
        path.write_bytes(content + behind)
        assert check_audio(path)["duration"] == 5.0


OTHER = np.random.default_rng(1).normal(0, 0.1, RATE).astype(np.float32)
CLICK = np.zeros(RATE, np.float32)
CLICK[500] = 0.9
STEREO = {
    "wired the wrong way round": (NOISE, -NOISE, True),
    "nearly": (NOISE, 0.1 * OTHER - NOISE, True),
    "with other levels": (NOISE + 0.3, -NOISE, True),
    "the same": (NOISE, NOISE, False),
    "two microphones": (NOISE, OTHER, False),
    "one alone": (NOISE, 0 * NOISE, False),
    "an offset": (0.1 * NOISE + 0.4, 0.1 * NOISE, False),
    "an opposite click": (0.1 * NOISE + CLICK, 0.1 * NOISE - CLICK, False),
}


@pytest.mark.parametrize("kind", STEREO)
def test_channels_that_cancel_each_other_are_a_problem(kind, tmp_path):
    *wav, cancel = STEREO[kind]
    soundfile.write(tmp_path / "a.wav", np.stack(wav, 1), RATE, subtype="FLOAT")
    problem = check_audio(tmp_path / "a.wav").get("problem")
    assert problem == (CANCELLING if cancel else None)


def test_a_corpus_wired_the_wrong_way_round_is_told_what_to_do(tmp_path):
    folder = write_corpus_of(tmp_path / "toy", by_speaker(5))
    for n in (1, 2):
        wav = np.stack([NOISE, -NOISE], 1)
        soundfile.write(folder / f"{n:03d}.wav", wav, RATE)
    with pytest.raises(UserError, match=f"2 {CANCELLING} .*ffmpeg .*pan=mono"):
        prepare(folder, tmp_path / "m")


def test_flac_without_a_length_is_to_be_converted(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, NOISE, RATE)
    content = bytearray(path.read_bytes())
    assert content[:4] == b"fLaC"
    content[21] &= 0xF0  # of 36 bits, the first four
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert check_audio(path)["problem"] == UNSUPPORTED


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("a.m4a", b"\0\0\0\x1cftypM4A "),
        ("a.wav", b"\0\0\0\x1cftypisom"),  # under a wrong name
        ("a.wma", bytes.fromhex("3026b2758e66cf11")),
        ("a.aac", b"\xff\xf1\x50\x80"),
        ("a.amr", b"#!AMR\n"),
    ],
)
def test_formats_that_are_not_read_are_named(name, beginning, tmp_path):
    (tmp_path / name).write_bytes(beginning + bytes(900))
    assert check_audio(tmp_path / name)["problem"] == UNSUPPORTED
    (tmp_path / "a.raw").write_bytes(bytes(900))
    assert check_audio(tmp_path / "a.raw")["problem"] == "unreadable audio"
    assert check_audio(tmp_path / "gone.wav") == {"problem": "unreadable audio"}


def replace_with_aac(folder: Path, count: int) -> None:
    """Put another format in place of the first files of a corpus."""
    table = folder / "labels.csv"
    for n in range(1, count + 1):
        (folder / f"{n:03d}.wav").unlink()
        (folder / f"{n:03d}.aac").write_bytes(b"\xff\xf1" + bytes(900))
        text = table.read_text().replace(f"{n:03d}.wav", f"{n:03d}.aac")
        table.write_text(text)


def test_another_format_stops_with_the_command_that_converts(tmp_path):
    folder = write_corpus_of(tmp_path / "toy", by_speaker(5))  # 20 rows
    replace_with_aac(folder, 2)
    with pytest.raises(UserError) as error:
        prepare(folder, tmp_path / "m")
    message = str(error.value)
    assert f"of 20 rows in the label table, 2 {UNSUPPORTED}" in message
    command = f"ffmpeg -i '{folder}/001.aac' '{folder}/001.wav'"
    assert message.endswith(f"for example: {command}.")


def test_damaged_files_count_under_the_5_percent(tmp_path):
    folder = write_corpus_of(tmp_path / "toy", by_speaker(5))
    for n in (1, 2):
        path = folder / f"{n:03d}.wav"
        path.write_bytes(path.read_bytes()[:2000])
        if n == 1:
            report = prepare(folder, tmp_path / "m")["prep_report"]
            assert report["skipped"] == {"001": "unreadable audio"}
    with pytest.raises(UserError, match=r"of 20 rows .*2 unreadable audio"):
        prepare(folder, tmp_path / "m")


def test_corpora_of_their_own_names_say_it_too(tmp_path):
    (tmp_path / "emodb/wav").mkdir(parents=True)
    (tmp_path / "emodb/wav/03a01Fa.m4a").write_bytes(bytes(9))
    with pytest.raises(UserError, match=r"no audio of .*ffmpeg -i '.*Fa\.m4a'"):
        prepare(tmp_path / "emodb", tmp_path / "m", corpus="emodb")
