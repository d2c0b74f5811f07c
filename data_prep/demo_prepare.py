"""Make two demo corpora and a demo encoder, without any download.

Acted emotions in English and Mandarin, spoken by eSpeak NG: the emotion is in
rate, pitch, pitch range and loudness alone. The corpora lie as MSP-Podcast and
BIIC-Podcast do, with some of the defects that real corpora have; the encoder
is a WavLM of random weights. They show that everything works together, and say
nothing about emotion recognition.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from filelock import FileLock
from scipy.signal import resample_poly

from data_prep.demo_speech import RATE as SYNTHESIS_RATE
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError, check_choice

RATE = 16000
HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
UTTERANCES = 8  # of each speaker
SPEAKERS = {"train": 20, "valid": 8, "test": 8}
# Variants of eSpeak NG that sound like people, one for each speaker.
WOMEN = (
    *("f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea", "Annie", "anika"),
    *("aunty", "belinda", "grandma", "linda", "shelby", "steph"),
)
MEN = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Andy"),
    *("Denis", "Diogo", "Lee", "Michael", "Reed", "adam", "benjamin"),
    *("edward", "max", "michel", "robert"),
)
LOUDNESS = -31.0  # dB of full scale, RMS of a neutral utterance


@dataclass(frozen=True)
class Prosody:
    """How an emotion is spoken, and what its annotators would note.

    Arguments
    ---------
    rate : float
        Factor on the speaker's own.
    pitch, range : float
        Added to the speaker's own, on eSpeak NG's scale from 0 to 99.
    gain : float
        In dB.
    attributes : tuple[float, float, float]
        Arousal, valence and dominance from 1 to 7.
    """

    rate: float
    pitch: float
    range: float
    gain: float
    attributes: tuple[float, float, float]


PROSODY = {
    "neutral": Prosody(1.0, 0, 0, 0, (3.8, 4.1, 4.0)),
    "happy": Prosody(1.14, 28, 35, 3, (5.2, 5.7, 4.6)),
    "angry": Prosody(1.2, 8, 10, 9, (5.6, 2.3, 5.5)),
    "sad": Prosody(0.8, -14, -25, -9, (2.9, 2.5, 3.1)),
}
# Standard deviations, so that the emotions overlap.
SPEAKER_SPREAD = Prosody(0.06, 6, 6, 1.5, (0.0, 0.0, 0.0))
JITTER = Prosody(0.05, 5, 8, 2, (0.6, 0.6, 0.6))


@dataclass(frozen=True)
class Language:
    """What a demo corpus is made of.

    Arguments
    ---------
    voice : str
        eSpeak NG's voice.
    rate : int
        Words a minute.
    test_split : str
        The corpus's name of the test split.
    prefix : str
        Of the file names.
    sentences : tuple[str, ...]
        Emotionally neutral.
    phones : dict[str, str]
        Label in the TextGrid by eSpeak NG's symbol, stress aside.
    """

    voice: str
    rate: int
    test_split: str
    prefix: str
    sentences: tuple[str, ...]
    phones: dict[str, str]


ENGLISH = Language(
    voice="en-us",
    rate=150,
    test_split="Test1",
    prefix="MSP-PODCAST",
    sentences=(
        "The train leaves at seven.",
        "The book is on the desk.",
        "She walks to the office today.",
        "We met beside the old bridge.",
        "The window faces the street.",
        "He put the keys in the box.",
        "They moved the meeting to Monday.",
        "The coffee is in the kitchen.",
        "My cousin lives in this house.",
        "The letter has nine pages.",
    ),
    # ARPAbet; vowels get their stress digit later.
    phones={
        **{"ð": "DH", "ə": "AH", "t": "T", "ɹ": "R", "eɪ": "EY", "n": "N"},
        **{"l": "L", "iː": "IY", "i": "IY", "v": "V", "z": "Z", "æ": "AE"},
        **{"s": "S", "ɛ": "EH", "b": "B", "ʊ": "UH", "k": "K", "ɪ": "IH"},
        **{"ɔ": "AO", "ɔː": "AO", "d": "D", "ʃ": "SH", "w": "W", "f": "F"},
        **{"m": "M", "aɪ": "AY", "oʊ": "OW", "dʒ": "JH", "ᵻ": "IH"},
        **{"h": "HH", "p": "P", "ɑː": "AA", "uː": "UW", "ɾ": "T", "ŋ": "NG"},
        **{"ʌ": "AH", "tʃ": "CH", "aʊ": "AW", "ɚ": "ER", "ɐ": "AH"},
    },
)
MANDARIN = Language(
    voice="cmn",
    rate=180,
    test_split="Test",
    prefix="BIIC-PODCAST",
    sentences=(
        *("火车七点出发。", "书在桌子上。", "她今天去商店。"),
        *("我们在桥边见面。", "窗户对着花园。", "他把钥匙放在盒子里。"),
        *("会议改到星期一。", "水在瓶子里。", "我哥哥住在这条街。"),
        "报告一共有九页。",
    ),
    # Pinyin, with the coda apart.
    phones={
        **{"p": "b", "ph": "p", "m": "m", "f": "f", "t": "d", "th": "t"},
        **{"n": "n", "ŋ": "ng", "l": "l", "k": "g", "kh": "k", "χ": "h"},
        **{"tɕ": "j", "tɕh": "q", "ɕ": "x", "ts": "z", "tsh": "c", "s": "s"},
        **{"ts.": "zh", "ts.h": "ch", "s.": "sh", "w": "w", "j": "y"},
        **{"ɑ": "a", "ai": "ai", "ɑu": "ao", "o-": "e", "ə": "e"},
        **{"ei": "ei", "i": "i", "i.": "iii", "i̪": "ii", "iɛ": "ie"},
        **{"iou": "iu", "o": "o", "u": "u", "uei": "ui", "uo": "uo"},
        **{"y": "v", "yæ": "va", "onɡ": "ong"},
    },
)
CORPORA = {"msp_podcast": ENGLISH, "biic_podcast": MANDARIN}


@dataclass(frozen=True)
class Line:
    """One utterance of a demo corpus, before it is spoken.

    Arguments
    ---------
    name : str
        Of the files, without suffix.
    speaker, gender, split, emotion : str
        As in manifests.
    text, voice : str
        What is said, by which voice of eSpeak NG.
    rate, pitch, range : int
        eSpeak NG's parameters.
    gain : float
        In dB.
    attributes : tuple[float, ...]
        Arousal, valence and dominance.
    """

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
    attributes: tuple[float, ...]


def make_corpus(data_folder: str | Path, corpus: str, seed: int = 0) -> str:
    """Synthesise a demo corpus, unless its folder is there.

    It is made under another name and then renamed, by one process at a time:
    what is there is whole.

    Arguments
    ---------
    data_folder : str | Path
        Gets a folder of the corpus's name.
    corpus : str
        ``msp_podcast``: English, ``biic_podcast``: Mandarin.
    seed : int
        Decides everything.

    Returns
    -------
    str
        The corpus folder.

    Raises
    ------
    UserError
        Another corpus that is not there, or whatever `speak` finds.
    """
    target = Path(data_folder) / corpus
    if target.is_dir():
        return str(target)
    check_choice(f"{target} is not there, and the demo corpus", corpus, CORPORA)
    language = CORPORA[corpus]
    return _once(target, partial(write_corpus, language=language, seed=seed))


def make_encoder(folder: str | Path, seed: int = 0) -> str:
    """Save a small WavLM of random weights, unless it is there.

    Arguments
    ---------
    folder : str | Path
        Gets the folder ``random-wavlm``.
    seed : int
        Decides the weights.

    Returns
    -------
    str
        Folder of the encoder, which is an ``encoder_source``.
    """
    return _once(Path(folder) / "random-wavlm", partial(_write_encoder, seed))


def _once(target: Path, write: Callable[[Path], None]) -> str:
    """Write a folder that is whole or not there, one process at a time."""
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.is_dir():  # another process was faster
                print(f"Making {target} for the demo.", file=sys.stderr)
                temporary = target.with_name(f".{target.name}.tmp")
                shutil.rmtree(temporary, ignore_errors=True)  # of a killed run
                temporary.mkdir()
                write(temporary)
                temporary.rename(target)
    return str(target)


def write_corpus(folder: Path, language: Language, seed: int) -> None:
    """Speak and write one corpus, with its defects.

    Arguments
    ---------
    folder : Path
        The corpus folder, still empty.
    language : Language
        What it is made of.
    seed : int
        Decides everything.
    """
    lines = plan(language, seed)
    for part in ("Audios", "Labels", "ForceAligned"):
        (folder / part).mkdir()
    speech = speak(lines, seed, folder)
    for line, (wav, phones, words) in zip(lines, speech, strict=True):
        level = LOUDNESS + line.gain
        samples = _to_level(resample_poly(wav, 320, 441), level)
        soundfile.write(
            folder / f"Audios/{line.name}.wav", samples, RATE, "PCM_16"
        )
        _write_textgrid(
            folder / f"ForceAligned/{line.name}.TextGrid",
            len(samples) / RATE,
            phone_intervals(phones, len(wav), language),
            word_intervals(line.text, phones, words, len(wav)),
        )
    defects = _add_defects(folder, lines)
    splits = {"train": "Train", "valid": "Development"}
    splits["test"] = language.test_split
    table = folder / "Labels/labels_consensus.csv"
    _write_labels(table, lines, splits, defects)


def plan(language: Language, seed: int) -> list[Line]:
    """Say who says what in which emotion.

    Emotions and sentences are dealt to the rows of each split independently of
    each other, of the speaker and of the order: nothing but the sound tells
    the emotion. Dealing each speaker equal numbers instead would make emotions
    predictable from the speaker's other rows.

    Arguments
    ---------
    language : Language
        The corpus.
    seed : int
        Decides everything.

    Returns
    -------
    list[Line]
        Rows, speaker by speaker.
    """
    rng = np.random.default_rng([seed, *language.prefix.encode()])
    voices = [(v, "female") for v in WOMEN] + [(v, "male") for v in MEN]
    order = rng.permutation(len(voices))
    numbers = rng.permutation(np.arange(1, 1000))[: len(voices)]
    lines, done = [], 0
    for split, count in SPEAKERS.items():
        rows = count * UTTERANCES
        emotions = _deal(rng, EMOTIONS, rows)
        sentences = _deal(rng, language.sentences, rows)
        for row in range(rows):
            speaker = done + row // UTTERANCES
            if row % UTTERANCES == 0:
                own = rng.normal(size=4)
            voice, gender = voices[order[speaker]]
            lines.append(
                Line(
                    f"{language.prefix}_{numbers[speaker]:04d}_"
                    f"{row % UTTERANCES + 1:04d}",
                    str(numbers[speaker]),
                    gender,
                    split,
                    emotions[row],
                    sentences[row],
                    f"{language.voice}+{voice}",
                    **_prosody(rng, emotions[row], own, language.rate),
                )
            )
        done += count
    return lines


def _deal(rng: np.random.Generator, items: Sequence, count: int) -> list:
    """Shuffle equal numbers of each item, as far as they go."""
    return [items[n % len(items)] for n in rng.permutation(count)]


def _prosody(
    rng: np.random.Generator, emotion: str, own: np.ndarray, base_rate: int
) -> dict:
    """Draw parameters around the emotion's and the speaker's own."""
    mean, noise = PROSODY[emotion], rng.normal(size=7)

    def off(key: str, n: int) -> float:
        spread = getattr(SPEAKER_SPREAD, key) * own[n]
        return spread + getattr(JITTER, key) * noise[n]

    attributes = [
        float(np.clip(m + s * x, 1, 7).round(1))
        for m, s, x in zip(
            mean.attributes, JITTER.attributes, noise[4:], strict=True
        )
    ]
    return {
        "rate": round(base_rate * mean.rate * math.exp(off("rate", 0))),
        "pitch": int(np.clip(40 + mean.pitch + off("pitch", 1), 0, 99)),
        "range": int(np.clip(45 + mean.range + off("range", 2), 0, 99)),
        "gain": mean.gain + off("gain", 3),
        "attributes": tuple(attributes),
    }


def speak(lines: Sequence[Line], seed: int, folder: Path) -> list[tuple]:
    """Speak all lines in a process of their own.

    Arguments
    ---------
    lines : Sequence[Line]
        What to say, and how.
    seed : int
        Of the synthesiser.
    folder : Path
        For two temporary files.

    Returns
    -------
    list[tuple]
        Of each line samples (N,), phones and words, as
        `data_prep.demo_speech.Spoken` describes them.

    Raises
    ------
    UserError
        eSpeak NG's package is not installed or does not work.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError(
            "The demo corpora are spoken by eSpeak NG, whose package "
            'espeakng-loader is not installed: pip install -e ".[demo]"'
        )
    keys = ("text", "voice", "rate", "pitch", "range")
    requests = [{key: getattr(line, key) for key in keys} for line in lines]
    job, archive = folder / "requests.json", folder / "speech.npz"
    job.write_text(json.dumps({"seed": seed, "requests": requests}))
    script = Path(__file__).with_name("demo_speech.py")
    done = subprocess.run(
        [sys.executable, script, job, archive], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise UserError(
            "eSpeak NG cannot speak the demo corpora: "
            f"{done.stderr.strip() or f'exit status {done.returncode}'}"
        )
    with np.load(archive) as spoken:
        events = json.loads(str(spoken["events"]))
        speech = [
            (spoken[str(n)].astype(np.float64) / 2**15, *event)
            for n, event in enumerate(events)
        ]
    job.unlink()
    archive.unlink()
    return speech


def phone_intervals(
    phones: Sequence, samples: int, language: Language
) -> list[tuple[float, float, str]]:
    """Give each phone its end and the label of the corpus's phone set.

    Arguments
    ---------
    phones : Sequence
        ``[symbol, first sample, position]``, pauses with an empty symbol.
    samples : int
        Number of samples of the utterance.
    language : Language
        Has the labels.

    Returns
    -------
    list[tuple[float, float, str]]
        Start and end in seconds and label, without pauses.
    """
    ends = [start for _, start, _ in phones[1:]] + [samples]
    following = [symbol for symbol, _, _ in phones[1:]] + [""]
    return [
        (
            start / SYNTHESIS_RATE,
            end / SYNTHESIS_RATE,
            _label(language, symbol, after),
        )
        for (symbol, start, _), end, after in zip(
            phones, ends, following, strict=True
        )
        if symbol
    ]


def _label(language: Language, symbol: str, following: str) -> str:
    """Label of a phone; ARPAbet's vowels carry stress, 店 is d ia n."""
    label = language.phones[symbol.lstrip("ˈˌ")]
    if label[0] in "AEIOU":
        return label + {"ˈ": "1", "ˌ": "2"}.get(symbol[0], "0")
    return "ia" if label == "ie" and following == "n" else label


def word_intervals(
    text: str, phones: Sequence, words: Sequence, samples: int
) -> list[tuple[float, float, str]]:
    """Give each word the time from its first phone to the end of its last.

    Arguments
    ---------
    text : str
        The sentence.
    phones, words : Sequence
        As in `data_prep.demo_speech.Spoken`.
    samples : int
        Number of samples of the utterance.

    Returns
    -------
    list[tuple[float, float, str]]
        Start and end in seconds and the word.
    """
    ends = [start for _, start, _ in phones[1:]] + [samples]
    found = []
    for position, length in words:
        own = [
            (start, end)
            for (symbol, start, of_word), end in zip(phones, ends, strict=True)
            if symbol and of_word == position
        ]
        if own:
            times = own[0][0] / SYNTHESIS_RATE, own[-1][1] / SYNTHESIS_RATE
            found.append((*times, text[position : position + length].lower()))
    return found


def _to_level(wav: np.ndarray, level: float) -> np.ndarray:
    """Scale to an RMS in dB of full scale, without clipping."""
    factor = 10 ** (level / 20) / np.sqrt(np.mean(wav**2))
    return wav * min(factor, 0.99 / np.abs(wav).max())


def _write_textgrid(
    path: Path, seconds: float, phones: list[tuple], words: list[tuple]
) -> None:
    from praatio import textgrid
    from praatio.utilities.constants import Interval

    grid = textgrid.Textgrid(0, seconds)
    for name, found in (("words", words), ("phones", phones)):
        entries = [Interval(a, min(b, seconds), label) for a, b, label in found]
        grid.addTier(textgrid.IntervalTier(name, entries, 0, seconds))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


def _add_defects(folder: Path, lines: Sequence[Line]) -> dict[str, str]:
    """Spoil three training rows as real corpora do; give the labels changed.

    One row on whose emotion nobody agreed, one without its file, and one in
    stereo at 44.1 kHz.
    """
    disputed, missing, stereo = (lines[n].name for n in (10, 50, 90))
    (folder / f"Audios/{missing}.wav").unlink()
    path = folder / f"Audios/{stereo}.wav"
    wav, rate = soundfile.read(path)
    fine = resample_poly(wav, 441, 160)
    both = np.stack([fine, fine], axis=1)
    soundfile.write(path, both, rate * 441 // 160, "PCM_16")
    return {disputed: "X"}


def _write_labels(
    path: Path, lines: Sequence[Line], splits: Mapping, changed: Mapping
) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER.split(","))
        for line in lines:
            letter = changed.get(line.name, line.emotion[0].upper())
            writer.writerow(
                (
                    f"{line.name}.wav",
                    letter,
                    *line.attributes,
                    line.speaker,
                    line.gender.capitalize(),
                    splits[line.split],
                )
            )


def _write_encoder(seed: int, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import WavLMConfig, WavLMModel

    config = WavLMConfig(
        hidden_size=64,
        num_hidden_layers=12,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        # The other front end norms each utterance, and loudness with it.
        feat_extract_norm="layer",
        conv_bias=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = WavLMModel(config).state_dict()
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    preprocessor = json.dumps({"do_normalize": False})
    (folder / "preprocessor_config.json").write_text(preprocessor)
