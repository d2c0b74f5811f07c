"""Speech with exact phone times from eSpeak NG.

A script: eSpeak NG carries its state from one utterance to the next, so only a
process of its own gives the same bytes again. It reads from standard input, as
JSON, ``seed``, ``sample_rate`` and ``requests`` (each ``text``, ``voice``,
``rate`` in words a minute, ``pitch`` and ``range`` from 0 to 99), and writes to
standard output, pickled, for each request int16 samples (N,), phones
(``[IPA symbol, first sample, position of its word in the text]``, the symbol of
a pause is empty) and words (``[position, length]`` in characters); or None if
eSpeak NG has no such voice.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# From eSpeak NG's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
PHONEME_EVENTS, PHONEME_IPA = 0x0001, 0x0002
DONT_EXIT = 0x8000
UTF8 = 1
PARAMETERS = {"rate": 1, "pitch": 3, "range": 4}
EVENT_WORD, EVENT_PHONEME = 1, 7


class Event(ctypes.Structure):
    """What eSpeak NG tells of a word or a phone."""

    _fields_ = (
        *(("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint)),
        *(("text_position", ctypes.c_int), ("length", ctypes.c_int)),
        *(("audio_position", ctypes.c_int), ("sample", ctypes.c_int)),
        *(("user_data", ctypes.c_void_p), ("symbol", ctypes.c_char * 8)),
    )


Callback = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int),
    ctypes.POINTER(Event),
)


def start(seed: int, sample_rate: int) -> ctypes.CDLL:
    """Load the library that the package espeakng-loader brings."""
    import espeakng_loader

    espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    data = Path(espeakng_loader.get_data_path())
    os.chdir(data.parent)  # eSpeak NG cuts off paths of over 160 bytes
    options = PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT
    rate = espeak.espeak_Initialize(
        AUDIO_OUTPUT_SYNCHRONOUS, 0, data.name.encode(), options
    )
    if rate != sample_rate:
        raise RuntimeError(f"eSpeak NG does not start: {rate}.")
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    return espeak


def speak(espeak: ctypes.CDLL, request: Mapping) -> tuple | None:
    """Speak one text: its samples, phones and words."""
    blocks, phones, words = [], [], []

    def collect(samples: object, count: int, events: object) -> int:
        if samples and count:
            block = np.ctypeslib.as_array(samples, (count,))
            blocks.append(block.copy())
        number = 0
        while events[number].type:
            event = events[number]
            position = event.text_position - 1
            if event.type == EVENT_WORD:
                words.append([position, event.length])
            elif event.type == EVENT_PHONEME:
                # The symbol is cut off after 8 bytes.
                symbol = event.symbol.decode(errors="replace")
                if symbol.startswith("("):  # another language: (en)
                    symbol = ""
                phones.append([symbol, event.sample, position])
            number += 1
        return 0  # go on

    if espeak.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        return None
    callback = Callback(collect)
    espeak.espeak_SetSynthCallback(callback)
    for name, number in PARAMETERS.items():
        espeak.espeak_SetParameter(number, request[name], 0)
    text = request["text"].encode()
    espeak.espeak_Synth(text, len(text) + 1, 0, 1, 0, UTF8, None, None)
    samples = np.concatenate(blocks) if blocks else np.empty(0, np.int16)
    return samples, phones, words


if __name__ == "__main__":
    job = json.load(sys.stdin)
    library = start(job["seed"], job["sample_rate"])
    spoken = [speak(library, request) for request in job["requests"]]
    pickle.dump(spoken, sys.stdout.buffer)
