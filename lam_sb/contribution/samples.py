"""What the tests of the recipe in SpeechBrain's tree run on.

The speech is SpeechBrain's own samples, read by one speaker as the source and
by the other as the target. Emotions, speakers and times of phones are made up,
and the encoders have random weights: the tests show that data flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from transformers import WavLMConfig, WhisperConfig

from lam_sb.corpora.audio import check_audio
from lam_sb.corpora.manifests import EMOTIONS, SPLITS, write_manifest
from lam_sb.features.random_encoder import write_random_encoder

SPEECH = "tests/samples/ASR"  # spk1_snt1.wav to spk2_snt6.wav
SENTENCES = 6
MANIFESTS = "manifests"
ENCODERS = ("wavlm", "whisper")
FACTS = ("audio_sha", "sample_rate", "duration")
ROWS = 16  # of each split; each sentence more than once
CORPORA = {
    "msp_podcast": ("spk1", "en", "arpa", ("AA1", "S", "IY1", "N", "UW1")),
    "biic_podcast": ("spk2", "zh", "pinyin", ("a1", "s", "i4", "m", "u3")),
}


def write_samples(folder: Path, speech: Path) -> None:
    """Write manifests and an encoder of each kind.

    Arguments
    ---------
    folder : Path
        Gets the folders ``manifests``, ``wavlm`` and ``whisper``.
    speech : Path
        SpeechBrain's samples.
    """
    for corpus in CORPORA:
        for split in SPLITS:
            path = folder / MANIFESTS / corpus / f"{split}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(path, _rows(speech, corpus, split))
    _write_encoders(folder)


def missing_speech(speech: Path) -> list[str]:
    """Names of SpeechBrain's samples that are not there."""
    names = (
        f"{speaker}_snt{n + 1}.wav"
        for speaker, *_ in CORPORA.values()
        for n in range(SENTENCES)
    )
    return [name for name in names if not (speech / name).is_file()]


def _rows(speech: Path, corpus: str, split: str) -> Iterator[tuple[str, dict]]:
    speaker, language, phone_set, labels = CORPORA[corpus]
    for n in range(ROWS):
        name = f"{speaker}_snt{n % SENTENCES + 1}.wav"
        facts = check_audio(speech / name)
        step = facts["duration"] / len(labels)
        phones = [
            [label, round(k * step, 2), round((k + 1) * step, 2)]
            for k, label in enumerate(labels)
        ]
        row = {
            "wav": f"{{data_root}}/{name}",
            **{k: facts[k] for k in FACTS},
            "emo": EMOTIONS[n % len(EMOTIONS)],
            "speaker": f"{split}_{n // len(EMOTIONS) % 2}",
            "gender": "unknown",
            "corpus": corpus,
            "language": language,
            "phones": phones,
            "phone_set": phone_set,
        }
        yield f"{corpus}_{split}_{n:02d}", row


def _write_encoders(folder: Path) -> None:
    sizes = {
        "num_hidden_layers": 12,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    wavlm = WavLMConfig(
        **sizes,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    whisper = WhisperConfig(
        d_model=16,
        encoder_layers=12,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=0,
        decoder_attention_heads=2,
        decoder_ffn_dim=8,
        vocab_size=8,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    preprocessors = {"do_normalize": False}, {"feature_size": 80}
    for name, config, preprocessor in zip(
        ENCODERS, (wavlm, whisper), preprocessors, strict=True
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_random_encoder(folder / name, config, preprocessor)
