"""Files in the names of open corpora."""

from __future__ import annotations

from pathlib import Path

from conftest import write_wav

ENGLISH = ["Neutral", "Happy", "Sad", "Angry", "Surprise"]
CHINESE = ["中立", "快乐", "伤心", "生气", "惊喜"]


def write_named(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        write_wav(folder / name, number)
    return folder


def esd_names(layout: str = "{spk}/{emo}/{utt}", chinese=ENGLISH) -> list[str]:
    """Six speakers; takes 1, 2, 3 of each emotion train, validate and test."""
    return [
        layout.format(spk=s, emo=emo, utt=f"{s}_{e * 3 + k:06d}", part=part)
        + ".wav"
        for s in ("0001", "0002", "0010", "0011", "0012", "0020")
        for e, emo in enumerate(chinese if s < "0011" else ENGLISH)
        for k, part in enumerate(("train", "evaluation", "test"))
    ]
