"""Speech with exact phone times from eSpeak NG, for the demo corpora.

Run as a script in a process of its own: eSpeak NG carries its state from one
utterance to the next, so only a fresh process gives the same bytes again.

    python demo_speech.py requests.json speech.npz
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

RATE = 22050  # Hz, eSpeak NG's own
# From eSpeak NG's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
PHONEME_EVENTS, PHONEME_IPA = 0x0001, 0x0002
DONT_EXIT = 0x8000
UTF8 = 1
PARAMETERS = {"rate": 1, "pitch": 3, "range": 4}
EVENT_WORD, EVENT_PHONEME = 1, 7


class _Id(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_short),
    ctypes.c_int,
    ctypes.POINTER(_Event),
)


@dataclass
class Spoken:
    """One utterance as eSpeak NG gave it.

    Arguments
    ---------
    wav : np.ndarray
        (N,) int16 samples at `RATE`.
    phones : list
        ``[IPA symbol, first sample, position of its word in the text]``; the
        symbol of a pause is empty.
    words : list
        ``[position, length]`` in characters, from 0.
    """

    wav: np.ndarray = field(default_factory=lambda: np.empty(0, np.int16))
    phones: list = field(default_factory=list)
    words: list = field(default_factory=list)


class Synthesiser:
    """The eSpeak NG library that the package espeakng-loader brings.

    Makes its data's folder the working folder of the process.

    Arguments
    ---------
    seed : int
        Decides the noise of breath and consonants.
    """

    def __init__(self, seed: int):
        import espeakng_loader

        self.espeak = ctypes.CDLL(espeakng_loader.get_library_path())
        data = Path(espeakng_loader.get_data_path())
        os.chdir(data.parent)  # eSpeak NG cuts off paths of over 160 bytes
        rate = self.espeak.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS,
            0,
            data.name.encode(),
            PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT,
        )
        if rate != RATE:
            raise RuntimeError(f"eSpeak NG does not start: {rate}.")
        self.callback = _CALLBACK(self._collect)  # kept alive for the library
        self.espeak.espeak_SetSynthCallback(self.callback)
        self.espeak.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    def speak(self, request: Mapping) -> Spoken:
        """Speak one text.

        Arguments
        ---------
        request : Mapping
            ``text``, ``voice`` (such as ``en-us+f2``), ``rate`` in words a
            minute, ``pitch`` and ``range`` from 0 to 99.

        Returns
        -------
        Spoken
            Samples, phones and words.
        """
        self.spoken, self.blocks = Spoken(), []
        voice = request["voice"].encode()
        if self.espeak.espeak_SetVoiceByName(voice) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {request['voice']}.")
        for name, number in PARAMETERS.items():
            self.espeak.espeak_SetParameter(number, request[name], 0)
        text = request["text"].encode()
        self.espeak.espeak_Synth(text, len(text) + 1, 0, 1, 0, UTF8, None, None)
        self.spoken.wav = np.concatenate(self.blocks)
        return self.spoken

    def _collect(self, samples: object, count: int, events: object) -> int:
        """Receive samples and events; 0 asks for more."""
        if samples and count:
            block = np.ctypeslib.as_array(samples, (count,))
            self.blocks.append(block.copy())
        number = 0
        while events[number].type:
            event = events[number]
            position = event.text_position - 1
            if event.type == EVENT_WORD:
                self.spoken.words.append([position, event.length])
            elif event.type == EVENT_PHONEME:
                symbol = event.id.string.decode()
                self.spoken.phones.append([symbol, event.sample, position])
            number += 1
        return 0


def main(requests_path: str, speech_path: str) -> None:
    """Speak the requests of a JSON file into one NumPy archive."""
    with open(requests_path, encoding="utf-8") as file:
        job = json.load(file)
    archive = Path(speech_path).resolve()
    synthesiser = Synthesiser(job["seed"])
    spoken = [synthesiser.speak(request) for request in job["requests"]]
    events = [[s.phones, s.words] for s in spoken]
    np.savez(
        archive,
        events=json.dumps(events),
        **{str(n): s.wav for n, s in enumerate(spoken)},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
