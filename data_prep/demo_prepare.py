"""Make two demo corpora and a demo encoder, without any download.

Acted emotions in English and Mandarin, spoken by eSpeak NG: the emotion is in
rate, pitch, pitch range and loudness alone. The corpora lie as MSP-Podcast and
BIIC-Podcast do, with some of the defects that real corpora have; the encoder
is a WavLM of random weights. They show that everything works together, and say
nothing about emotion recognition.

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import yaml
from filelock import FileLock
from scipy.signal import resample_poly

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.corpora.textgrids import write_textgrid
from lam_sb.errors import check_choice
from lam_sb.features.random_encoder import write_random_encoder
from lam_sb.forced_alignment import espeak
from lam_sb.forced_alignment.espeak import phone_times, word_times

CONTENT = yaml.safe_load(
    Path(__file__).with_name("demo_corpora.yaml").read_text(encoding="utf-8")
)
CORPORA = CONTENT["corpora"]
RATE = 16000  # Hz
HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
SPEAKERS = {"train": 20, "valid": 8, "test": 8}
UTTERANCES = 8  # of each speaker
LOUDNESS = -31.0  # dB of full scale, RMS of a neutral utterance


@dataclass(frozen=True)
class Line:
    """One utterance before it is spoken; what demo_corpora.yaml explains."""

    name: str
    speaker: str
    gender: str
    split: str
    emotion: str
    text: str
    voice: str
    rate: int
    pitch: int
    range: int
    gain: float
    attributes: Sequence[float]


def make_corpus(data_folder: str | Path, corpus: str, seed: int = 0) -> str:
    """Synthesise a demo corpus, unless its folder is there.

    Arguments
    ---------
    data_folder : str | Path
        Gets a folder of the corpus's name, which is given back.
    corpus : str
        ``msp_podcast``: English, ``biic_podcast``: Mandarin; or one whose
        folder is there.
    seed : int
        Decides everything.
    """
    folder = Path(data_folder) / corpus
    if not folder.is_dir():
        key = f"{folder} is not there, and the demo corpus"
        check_choice(key, corpus, CORPORA)
        write = partial(write_corpus, language=CORPORA[corpus], seed=seed)
        _make_folder(folder, write)
    return str(folder)


def make_encoder(folder: str | Path, seed: int = 0) -> str:
    """Save a WavLM of random weights as ``random-wavlm``; give its folder."""
    encoder = Path(folder) / "random-wavlm"
    if not encoder.is_dir():
        _make_folder(encoder, partial(_write_encoder, seed=seed))
    return str(encoder)


def _make_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder that is whole or not there, one process at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():  # another process was faster
            return
        print(f"Making {folder} for the demo.", file=sys.stderr)
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)  # of a killed run
        temporary.mkdir()
        write(temporary)
        temporary.rename(folder)


def write_corpus(folder: Path, language: Mapping, seed: int) -> None:
    """Speak one corpus of `CORPORA` into an empty folder."""
    lines = plan(language, seed)
    for name in ("Audios", "Labels", "ForceAligned"):
        (folder / name).mkdir()
    for line, (wav, phones, words) in zip(
        lines, speak(lines, seed), strict=True
    ):
        samples = resample_poly(wav, 320, 441)
        samples = _to_level(samples, LOUDNESS + line.gain)
        audio = folder / f"Audios/{line.name}.wav"
        soundfile.write(audio, samples, RATE, "PCM_16")
        tiers = _tiers(line.text, phones, words, len(wav), language["phones"])
        alignment = folder / f"ForceAligned/{line.name}.TextGrid"
        write_textgrid(alignment, tiers, len(samples) / RATE)
    disputed = _add_defects(folder, lines)
    _write_labels(folder, lines, language["test_split"], disputed)


def plan(language: Mapping, seed: int) -> list[Line]:
    """Say who says what in which emotion, speaker by speaker.

    Emotions and sentences are dealt to the rows of each split independently of
    each other, of the speaker and of the order: nothing but the sound tells
    the emotion. Dealing each speaker equal numbers instead would make emotions
    predictable from the speaker's other rows.
    """
    rng = np.random.default_rng([seed, *language["prefix"].encode()])
    voices = [(v, g) for g, vs in CONTENT["voices"].items() for v in vs.split()]
    order = iter(rng.permutation(len(voices)))
    numbers = iter(rng.permutation(np.arange(1, 1000)))
    lines = []
    for split, count in SPEAKERS.items():
        rows = count * UTTERANCES
        emotions = _deal(rng, EMOTIONS, rows)
        sentences = _deal(rng, language["sentences"], rows)
        for row in range(rows):
            if row % UTTERANCES == 0:
                (voice, gender), number = voices[next(order)], next(numbers)
                speaker_offset = rng.normal(size=4)
            name = f"{number:04d}_{row % UTTERANCES + 1:04d}"
            lines.append(
                Line(
                    f"{language['prefix']}_{name}",
                    *(str(number), gender, split),
                    *(emotions[row], sentences[row]),
                    f"{language['voice']}+{voice}",
                    *_prosody(rng, emotions[row], speaker_offset, language),
                )
            )
    return lines


def _deal(rng: np.random.Generator, items: Sequence, count: int) -> list:
    """Shuffle equal numbers of each item, as far as they go."""
    return [items[n % len(items)] for n in rng.permutation(count)]


def _prosody(
    rng: np.random.Generator,
    emotion: str,
    speaker_offset: np.ndarray,
    language: Mapping,
) -> tuple:
    """Draw rate, pitch, range, gain and attributes of one utterance."""
    mean = np.array(CONTENT["prosody"][emotion])
    offset = np.array(CONTENT["utterance_deviation"]) * rng.normal(size=7)
    offset[:4] += CONTENT["speaker_deviation"] * speaker_offset
    pitch = np.clip(np.array([40, 45]) + mean[1:3] + offset[1:3], 0, 99)
    attributes = np.clip(mean[4:] + offset[4:], 1, 7).round(1)
    return (
        round(language["rate"] * mean[0] * math.exp(offset[0])),
        *map(int, pitch),
        mean[3] + offset[3],
        attributes.tolist(),
    )


def speak(lines: Sequence[Line], seed: int) -> list[tuple]:
    """Speak all lines: of each samples (N,), phones and words.

    As `lam_sb.forced_alignment.espeak.speak` gives them.
    """
    return espeak.speak([asdict(line) for line in lines], seed)


def _tiers(
    text: str, phones: list, words: list, num_samples: int, labels: Mapping
) -> dict[str, list[tuple]]:
    """Start and end in seconds and label of each word and each phone."""
    timed = phone_times(phones, num_samples)
    following = [symbol for _, _, symbol, _ in timed[1:]] + [""]
    return {
        "words": word_times(text, timed, words),
        "phones": [
            (start, end, _label(labels, symbol, after))
            for (start, end, symbol, _), after in zip(
                timed, following, strict=True
            )
            if symbol
        ],
    }


def _label(labels: Mapping[str, str], symbol: str, following: str) -> str:
    """Label of a phone; ARPAbet's vowels carry stress, 店 is d ia n."""
    label = labels[symbol.lstrip("ˈˌ")]
    if label[0] in "AEIOU":
        return label + {"ˈ": "1", "ˌ": "2"}.get(symbol[0], "0")
    return "ia" if label == "ie" and following == "n" else label


def _to_level(wav: np.ndarray, level: float) -> np.ndarray:
    """Scale to an RMS in dB of full scale, without clipping."""
    factor = 10 ** (level / 20) / np.sqrt(np.mean(wav**2))
    return wav * min(factor, 0.99 / np.abs(wav).max())


def _add_defects(folder: Path, lines: Sequence[Line]) -> str:
    """Spoil three training rows as real corpora do.

    One has no file, one is in stereo at 44.1 kHz, and on the emotion of the
    one whose name is given back nobody agreed.
    """
    disputed, missing, stereo = (lines[n].name for n in (10, 50, 90))
    (folder / f"Audios/{missing}.wav").unlink()
    path = folder / f"Audios/{stereo}.wav"
    wav = resample_poly(soundfile.read(path)[0], 441, 160)
    soundfile.write(path, np.stack([wav, wav], axis=1), 44100, "PCM_16")
    return disputed


def _write_labels(
    folder: Path, lines: Sequence[Line], test_split: str, disputed: str
) -> None:
    splits = {"train": "Train", "valid": "Development", "test": test_split}
    rows = [HEADER]
    for line in lines:
        letter = "X" if line.name == disputed else line.emotion[0].upper()
        values = (f"{line.name}.wav", letter, *line.attributes, line.speaker)
        values = (*values, line.gender.capitalize(), splits[line.split])
        rows.append(",".join(map(str, values)))
    table = folder / "Labels/labels_consensus.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _write_encoder(folder: Path, seed: int) -> None:
    from transformers import WavLMConfig

    config = WavLMConfig(**CONTENT["encoder"])
    write_random_encoder(folder, config, {"do_normalize": False}, seed)
