"""Tiny random encoders and made-up corpora, shared by all tests."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # bytes must not depend on the machine
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import soundfile
import torch
from encoder_kinds import KINDS, LENS
from stores import SHARD_ROWS, Spy, extract, make_store, write_clip

from data_prep.demo_prepare import CORPORA
from data_prep.demo_prepare import make_corpus as make_demo_corpus
from lam_sb.features import plan
from lam_sb.features.encoders import FrozenEncoder
from lam_sb.features.store import FeatureStore

torch.set_num_threads(1)
RATE = 16000
EMOTIONS = ("neutral", "happy", "angry", "sad")
ROOT = Path(__file__).parent.parent
HPARAMS = ROOT / "hparams"

# A complete YAML file that builds nothing slow.
TOY = """\
# Where the corpora lie.
data_folder: !PLACEHOLDER
output_folder: !ref results/<experiment>
# Name of the folder.
experiment: toy

# Trade-off.
gamma: 0.5
lr: 0.001  # Adam
anchor_layers: [1, 2]
label_map: {}
max_grad_norm: .inf
number_of_epochs: 3
patience: 2

# What is built.
counter: !new:collections.Counter
    gamma: !ref <gamma>
    # Steps, always one.
    steps: 1
last: end
"""
# Keys of a short run of train.py on the corpora of the tests.
SMALL = {
    "source": "left",
    "target": "right",
    "anchor_layers": "[1, 2]",
    "batch_size": 8,
    "number_of_epochs": 2,
    "average_last_steps": 6,
    "num_heads": 2,
    "projection_dim": 16,
    "ffn_dim": 16,
}


def make_encoder(
    folder: Path, family: str = "wavlm", layers: int = 4, **config
) -> Path:
    """Save a random encoder as its family's checkpoints are saved."""
    import transformers

    torch.manual_seed(0)
    preprocessor = {"do_normalize": config.pop("do_normalize", False)}
    if family == "whisper":
        settings = transformers.WhisperConfig(
            d_model=32,
            encoder_layers=layers,
            encoder_attention_heads=2,
            encoder_ffn_dim=48,
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
            **config,
        )
        model = transformers.WhisperModel(settings)
        preprocessor = {"feature_size": 80}
    else:
        kind = {"wavlm": "WavLM", "hubert": "Hubert", "wav2vec2": "Wav2Vec2"}
        settings = getattr(transformers, f"{kind[family]}Config")(
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=48,
            conv_dim=(16,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            **config,
        )
        model = getattr(transformers, f"{kind[family]}Model")(settings)
    for parameter in model.parameters():  # random norms: none is the identity
        if parameter.ndim == 1:
            torch.nn.init.normal_(
                parameter.data, parameter.data.mean().item(), 0.1
            )
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def make_corpus(
    folder: Path, speakers: int = 6, takes: int = 2, seed: int = 0, **columns
) -> Path:
    """Write a corpus with a labels.csv; each emotion has a pitch of its own."""
    rng = np.random.default_rng(seed)
    (folder / "audio").mkdir(parents=True)
    lines = []
    for speaker in range(speakers):
        for n, emotion in enumerate(EMOTIONS):
            for take in range(takes):
                name = f"s{speaker:02d}_{n}_{take}_{seed}"
                count = int(rng.integers(4800, 9600))
                time = np.arange(count) / RATE
                pitch = 120 * (1 + n) * (1 + 0.02 * speaker)
                wav = 0.3 * np.sin(2 * np.pi * pitch * time)
                wav += 0.05 * rng.standard_normal(count)
                soundfile.write(folder / f"audio/{name}.wav", wav, RATE)
                line = {
                    "path": f"audio/{name}.wav",
                    "emotion": emotion,
                    "speaker": f"s{speaker:02d}",
                }
                lines.append(line | columns)
    write_table(folder / "labels.csv", lines)
    return folder


def write_wav(path: Path, number: int, count: int = 3200) -> None:
    """Write a file that no other number gives; 0.2 s long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.array([number] * (count - 1) + [-1], np.int16)  # no silence
    soundfile.write(path, samples, RATE)


def write_table(path: Path, lines: list[dict]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def read_table(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def wavlm(tmp_path_factory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoders") / "tiny-wavlm")


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> Path:
    """Folder with the corpora ``left`` and ``right``; not to be changed."""
    folder = tmp_path_factory.mktemp("corpora")
    make_corpus(folder / "left", seed=1)
    make_corpus(folder / "right", seed=2)
    return folder


def shared_folder(tmp_path_factory) -> Path:
    """Folder of one call of pytest, which its workers share and fill."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """Folder with both demo corpora; not to be changed.

    The workers of one call of pytest share it: two at once make it once.
    """
    (folder := shared_folder(tmp_path_factory) / "demo").mkdir(exist_ok=True)
    for corpus in CORPORA:
        make_demo_corpus(folder, corpus)
    return folder


@pytest.fixture(scope="session")
def encoder(wavlm) -> FrozenEncoder:
    return FrozenEncoder(str(wavlm))


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> dict[str, dict]:
    """Rows of twelve clips of 0.1 s to 0.5 s; not to be changed."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    # The shortest has 4 frames, fewer than chunks.
    counts = rng.permutation(np.linspace(1600, 8000, 12).astype(int))
    return dict(
        write_clip(folder / f"u{n:02d}.wav", 0.1 * rng.standard_normal(count))
        for n, count in enumerate(counts)
    )


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory, encoder, clips) -> FeatureStore:
    """All clips, encoded in one go into three shards; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "ROWS_PER_SHARD", SHARD_ROWS)
        patch.setattr(plan, "FEWEST_SHARDS", 1)
        store = make_store(tmp_path_factory.mktemp("unbroken"), encoder)
        extract(store, clips)
    return store


@pytest.fixture
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr(plan, "ROWS_PER_SHARD", SHARD_ROWS)
    monkeypatch.setattr(plan, "FEWEST_SHARDS", 1)


@pytest.fixture
def spy(monkeypatch, encoder) -> Spy:
    return Spy(monkeypatch, encoder)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinds")
    return {
        kind: make_encoder(root / f"tiny-{kind}", family, **config)
        for kind, (family, config) in KINDS.items()
    }


@pytest.fixture(scope="session")
def wavs():
    """Eight utterances, each louder than the last, with an offset and noise
    after their end."""
    torch.manual_seed(1)
    wavs = torch.randn(8, 24000) + torch.linspace(-0.5, 0.5, 8)[:, None]
    wavs *= torch.logspace(-4, -0.5, 8)[:, None]
    for wav, n in zip(wavs, LENS, strict=True):
        wav[n:] = 100.0
    return wavs


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def over(base: Path, text: str, name: str = "ablation.yaml") -> Path:
    """Write a file that says only this over a base beside it."""
    return write(base.parent / name, f"base: {base.name}\n{text}")


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    """Folder with a train.py, to which YAML files may belong."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # loading adds the folder
    write(tmp_path / "train.py", "")
    return tmp_path


@pytest.fixture
def toy(recipe) -> Path:
    return write(recipe / "toy.yaml", TOY)


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> dict[str, Path]:
    """Folders of tiny encoders of twelve layers, as base checkpoints have."""
    folder = tmp_path_factory.mktemp("twelve")
    return {
        family: make_encoder(folder / f"tiny-{family}", family, layers=12)
        for family in ("wavlm", "whisper")
    }


@pytest.fixture
def arguments(
    tmp_path, corpora, wavlm, tmp_path_factory
) -> Callable[..., list[str]]:
    """Arguments of a short run; keywords change, add or remove (None) keys."""
    features = tmp_path_factory.getbasetemp() / "features"

    def make(yaml: str = "small/lam_gl.yaml", *options: str, **keys) -> list:
        folders = {
            "data_folder": corpora,
            "encoder_source": wavlm,
            "feature_folder": features,
            "output_root": tmp_path / "results",
        }
        pairs = SMALL | folders | keys
        given = [f"--{k}={v}" for k, v in pairs.items() if v is not None]
        return [str(HPARAMS / yaml), "--noprogressbar", *given, *options]

    return make


@pytest.fixture
def system_keys(
    demo, encoders, tmp_path, tmp_path_factory
) -> Callable[[str], dict]:
    """Keys of a family of encoders and of where all lies, features shared."""
    shared = tmp_path_factory.getbasetemp() / "systems"

    def make(family: str) -> dict:
        return {
            "data_folder": demo,
            "encoder_source": encoders[family],
            "whisper_context": "valid",
            "feature_folder": shared_folder(tmp_path_factory) / "features",
            "manifest_folder": shared / "manifests",
            "output_root": tmp_path / "results",
        }

    return make


@pytest.fixture
def train_system(system_keys) -> Callable[..., tuple[dict, Path]]:
    """Train two epochs on the demo's corpora; give results and folder."""
    from runs import results_of, run  # train.py is slow to import

    def make(system: str, family: str = "wavlm", **keys) -> tuple[dict, Path]:
        pairs = system_keys(family)
        if system != "ensemble":
            pairs |= {"number_of_epochs": 2, "num_heads": 2, "ffn_dim": 16}
            pairs |= {"projection_dim": 16}
        pairs |= {"source": "msp_podcast", "target": "biic_podcast"} | keys
        yaml = str(HPARAMS / f"{system}_{family}.yaml")
        given = [f"--{key}={value}" for key, value in pairs.items()]
        folder = run([yaml, "--noprogressbar", *given])
        return results_of(folder), folder

    return make


@pytest.fixture
def make_brain(wavlm, tmp_path) -> Callable:
    """Give what makes a Brain of the small LAM-GL; keywords change keys."""
    from brains import brain_maker  # train.py is slow to import

    return brain_maker(wavlm, tmp_path)


@pytest.fixture(scope="module")
def three(corpora, tmp_path_factory):
    """A folder with left, right and a third corpus."""
    folder = tmp_path_factory.mktemp("three")
    for name in ("left", "right"):
        (folder / name).symlink_to(corpora / name)
    make_corpus(folder / "third", seed=3)
    return folder


@pytest.fixture
def train_on(three, wavlm, tmp_path):
    def start(source, target, system="lam_gl", **keys):
        keys = {
            **{"source": source, "target": target, "data_folder": three},
            **{"encoder_source": wavlm, "output_root": tmp_path / "results"},
            **{"feature_folder": three / "features", "max_steps": 3},
            **{"batch_size": 16, "projection_dim": 16, "num_heads": 2},
            "average_last_steps": 2,
        } | keys
        if system == "lam_gl":
            keys = {"anchor_layers": "[1, 2]"} | keys
        if system == "few_shot":
            del keys["batch_size"]
            keys |= {"episode_shots": 1, "episode_queries": 2}
        if system == "ensemble":
            for key in ("max_steps", "batch_size", "projection_dim"):
                del keys[key]
            del keys["num_heads"], keys["average_last_steps"]
        from runs import run  # which imports this module

        words = [f"--{key}={value}" for key, value in keys.items()]
        file = str(HPARAMS / f"small/{system}.yaml")
        return run([file, "--noprogressbar", "--device=cpu", *words])

    return start
