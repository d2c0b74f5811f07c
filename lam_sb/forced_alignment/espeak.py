"""Speech and its phone times from eSpeak NG."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lam_sb.errors import UserError

SCRIPT = Path(__file__).with_name("espeak_script.py")
ESPEAK_RATE = 22050  # Hz
# eSpeak NG's voice of a language; of others it has the language's own code.
VOICES = {
    **{"en": "en-us", "english": "en-us", "german": "de", "italian": "it"},
    **dict.fromkeys(("zh", "chinese", "mandarin"), "cmn"),
}


def voice_of(language: str) -> str:
    """Name of eSpeak NG's voice for a language's code or English name.

    Example
    -------
    >>> voice_of("en-GB"), voice_of("German"), voice_of("zh_TW")
    ('en-us', 'de', 'cmn')
    """
    code = language.strip().lower().replace("_", "-").partition("-")[0]
    return VOICES.get(code, code)


def speak(requests: Sequence[Mapping], seed: int = 0) -> list[tuple | None]:
    """Speak texts, in a process of its own.

    Arguments
    ---------
    requests : Sequence[Mapping]
        As ``espeak_script.py`` describes them.
    seed : int
        Decides the noise in the speech.

    Returns
    -------
    list[tuple | None]
        Of each request samples (N,) from -1 to 1 at `ESPEAK_RATE`, phones and
        words, as ``espeak_script.py`` describes them; None where eSpeak NG
        has no such voice.

    Raises
    ------
    UserError
        eSpeak NG is not installed, or fails.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError(
            "This needs the synthesiser eSpeak NG, whose package "
            'espeakng-loader is not installed: pip install -e ".[demo]"'
        )
    job = {"seed": seed, "sample_rate": ESPEAK_RATE, "requests": [*requests]}
    done = subprocess.run(
        [sys.executable, SCRIPT],
        input=json.dumps(job).encode(),
        capture_output=True,
    )
    if done.returncode != 0:
        problem = done.stderr.decode(errors="replace").strip()
        raise UserError(
            f"eSpeak NG fails: {problem or f'exit status {done.returncode}'}"
        )
    return [
        (spoken[0] / 2**15, *spoken[1:]) if spoken else None
        for spoken in pickle.loads(done.stdout)
    ]


def phone_times(
    phones: Sequence[Sequence], num_samples: int
) -> list[tuple[float, float, str, int]]:
    """Start and end in seconds, symbol and word's position of each phone.

    Each ends where the next begins; the symbol of a pause is empty.
    """
    ends = [start for _, start, _ in phones[1:]] + [num_samples]
    return [
        (start / ESPEAK_RATE, end / ESPEAK_RATE, symbol, word)
        for (symbol, start, word), end in zip(phones, ends, strict=True)
    ]


def word_times(
    text: str,
    phones: Sequence[tuple[float, float, str, int]],
    words: Sequence[Sequence[int]],
) -> list[tuple[float, float, str]]:
    """Start and end in seconds of each word that has phones, in small letters.

    Phones are as from `phone_times`, words as `speak` gives them.
    """
    times = []
    for position, length in words:
        own = [phone for phone in phones if phone[2] and phone[3] == position]
        if own:
            word = text[position : position + length].lower()
            times.append((own[0][0], own[-1][1], word))
    return times
