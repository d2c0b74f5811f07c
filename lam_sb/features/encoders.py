"""Frozen speech encoders that give every transformer layer.

Four families are read from their Hugging Face checkpoints: WavLM, HuBERT,
wav2vec 2.0 and the encoder of Whisper. An utterance has the same features alone
and in a padded batch, so utterances can be encoded in batches.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lam_sb.errors import UserError, check_choice

SAMPLE_RATE = 16000
WHISPER_WINDOW = 30 * SAMPLE_RATE
WHISPER_HOP = 320  # samples a frame: hop of 160, then a stride of 2
# Weights that transformers adds and that are used in training only.
NOT_READ = ("masked_spec_embed",)
FAMILIES = ("wavlm", "hubert", "wav2vec2", "whisper")


class FrozenEncoder(nn.Module):
    """A pretrained encoder that is only ever read.

    Construction reads the encoder's ``config.json`` alone (or, where that
    cannot be reached, the description in a feature store made with it); the
    weights load at the first forward. The module stays in eval mode whatever
    ``train()`` asks for, so dropout and LayerDrop never act.

    Arguments
    ---------
    source : str
        Hugging Face id (``microsoft/wavlm-base-plus``) or local folder. The
        family comes from its ``model_type``: wavlm, hubert, wav2vec2, whisper.
    final_norm : bool
        False takes layer L as its block gives it, as every other layer; True
        applies the encoder's norm after the last block, as Hugging Face's
        ``last_hidden_state`` (no difference for encoders without one).
    whisper_context : str
        ``full``: Whisper sees its window of 30 s, silence included, as in its
        training. ``valid``: only the frames of the utterance, several times
        faster for short ones.
    feature_folder : str, optional
        Where feature stores lie. A store made with this source describes the
        encoder when its ``config.json`` is out of reach.

    Raises
    ------
    UserError
        The source is no encoder of these families or cannot be reached.

    Example
    -------
    >>> from transformers import WavLMConfig, WavLMModel
    >>> folder = getfixture("tmp_path")
    >>> config = WavLMConfig(
    ...     hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
    ...     intermediate_size=32, conv_dim=(8, 8), conv_stride=(5, 64),
    ...     conv_kernel=(10, 64), num_conv_pos_embeddings=4,
    ...     num_conv_pos_embedding_groups=2)
    >>> WavLMModel(config).save_pretrained(folder)
    >>> encoder = FrozenEncoder(str(folder))
    >>> encoder.family, encoder.num_layers, encoder.dim
    ('wavlm', 3, 16)
    >>> wavs, lens = torch.randn(2, 6400), torch.tensor([6400, 3200])
    >>> layers, frames = encoder(wavs, lens)
    >>> layers.shape, frames.tolist()
    (torch.Size([2, 3, 19, 16]), [19, 9])
    """

    def __init__(
        self,
        source: str,
        final_norm: bool = False,
        whisper_context: str = "full",
        feature_folder: str | None = None,
    ):
        super().__init__()
        check_choice("whisper_context", whisper_context, ("full", "valid"))
        self.source = str(source)
        self.final_norm = final_norm
        self.whisper_context = whisper_context
        self.reachable = True
        try:
            path = _fetch(self.source, "config.json")
            description = _describe(self.source, path.read_text("utf-8"))
        except UserError:
            description = _described_by_store(self.name, feature_folder)
            if description is None:
                raise
            self.reachable = False
        self.family: str = description["family"]
        self.num_layers: int = description["num_layers"]
        self.dim: int = description["dim"]
        self.model: nn.Module | None = None
        self.eval()

    @property
    def name(self) -> str:
        """Last part of the source, as feature stores are named."""
        return Path(self.source).name

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, config and preprocessor config, by content."""
        if not self.reachable:
            raise UserError(f"The encoder {self.source} cannot be read.")
        folder = _fetch(self.source, "config.json").parent
        if not _weight_files(folder):
            self.load()  # downloads them
        if not _weight_files(folder):
            raise UserError(
                f"The weights of {self.source} are not beside its config.json "
                f"in {folder}; fetch both: hf download {self.source}"
            )
        configs = [folder / "config.json", self._preprocessor_config()]
        return _hash_files([p for p in configs if p] + _weight_files(folder))

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stay in eval mode, whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, wavs: torch.Tensor, lens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a padded batch.

        Arguments
        ---------
        wavs : torch.Tensor
            (B, N) waveforms at 16 kHz; what follows a row's end is ignored.
        lens : torch.Tensor
            (B,) number of samples of each row.

        Returns
        -------
        layers : torch.Tensor
            (B, L, T, D) output of blocks 1..L, in float32.
        frames : torch.Tensor
            (B,) number of frames of each row; later ones are padding.

        Raises
        ------
        UserError
            A row is too short for one frame.
        """
        self.load()
        self.model.to(wavs.device)
        lens = lens.to(wavs.device).long()
        wavs = wavs.float().masked_fill(~_inside(wavs, lens), 0)
        encode = self._whisper if self.family == "whisper" else self._wav2vec
        layers, frames = encode(wavs, lens)
        if frames.min() < 1:
            raise UserError(
                f"An utterance of {int(lens.min())} samples is too short for "
                f"one frame of {self.source}; set min_duration."
            )
        return layers, frames

    def frame_centres(self, count: int) -> list[float]:
        """When the middle of each frame's samples is heard.

        Arguments
        ---------
        count : int
            Number of frames.

        Returns
        -------
        list[float]
            Seconds from the utterance's start.
        """
        shift = width = WHISPER_HOP
        if self.family != "whisper":
            self.load()
            config, shift, width = self.model.config, 1, 1
            for kernel, stride in zip(
                config.conv_kernel, config.conv_stride, strict=True
            ):
                width += (kernel - 1) * shift
                shift *= stride
        return [(shift * t + width / 2) / SAMPLE_RATE for t in range(count)]

    def load(self) -> None:
        """Load the weights through SpeechBrain's interface, once.

        Raises
        ------
        UserError
            They cannot be read.
        """
        if self.model is not None:
            return
        if not self.reachable:
            _fetch(self.source, "config.json")  # says why it can't be read
        try:
            model, missing = _load_model(self.source)
        except (OSError, ValueError) as error:
            raise UserError(
                f"The weights of {self.source} cannot be loaded: {error}"
            ) from error
        self.preprocessor = self._read_preprocessor(model.config)
        if self.family == "whisper":
            model = model.encoder
            missing = [k for k in missing if k.startswith("encoder.")]
        else:
            RowGroupNorm.replace_first(model.feature_extractor.conv_layers[0])
        missing = [k for k in missing if k not in NOT_READ]
        if missing:
            raise UserError(
                f"The checkpoint {self.source} lacks {len(missing)} weights of "
                f"its encoder, {missing[0]} the first."
            )
        self.model = model.eval().requires_grad_(False)

    def _read_preprocessor(self, config: object) -> object:
        """Whisper: its log-mel extractor; others: whether to standardise."""
        if self.family == "whisper":
            from transformers import WhisperFeatureExtractor

            return WhisperFeatureExtractor(feature_size=config.num_mel_bins)
        path = self._preprocessor_config()
        if path is None:
            return config.feat_extract_norm == "layer"
        return json.loads(path.read_text()).get("do_normalize", True)

    def _preprocessor_config(self) -> Path | None:
        try:
            return _fetch(self.source, "preprocessor_config.json")
        except UserError:
            return None

    def _wav2vec(
        self, wavs: torch.Tensor, lens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        frames = self.model._get_feat_extract_output_lengths(lens)
        if frames.min() < 1:
            return wavs, frames
        if self.preprocessor:
            wavs = _standardise_rows(wavs, lens)
        front = self.model.feature_extractor.conv_layers[0]
        norm = getattr(front, "layer_norm", None)
        if isinstance(norm, RowGroupNorm):
            kernel, stride = front.conv.kernel_size[0], front.conv.stride[0]
            norm.frames = (lens - kernel) // stride + 1
        outputs: list[torch.Tensor] = []
        hooks = [
            block.register_forward_hook(
                lambda _block, _inputs, out: outputs.append(
                    out[0] if isinstance(out, tuple) else out
                )
            )
            for block in self.model.encoder.layers
        ]
        position = self.model.encoder.pos_conv_embed.conv
        hooks.append(position.register_forward_pre_hook(_zeroing(frames)))
        try:
            mask = _inside(wavs, lens).long()
            last = self.model(wavs, attention_mask=mask).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        if self.final_norm and self.model.config.do_stable_layer_norm:
            outputs[-1] = last
        return torch.stack(outputs, dim=1).float(), frames

    def _whisper(
        self, wavs: torch.Tensor, lens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode in windows of 30 s, joined again row by row."""
        frames = (lens + WHISPER_HOP - 1) // WHISPER_HOP
        if frames.min() < 1:
            return wavs, frames
        windows = [
            wav[start : min(start + WHISPER_WINDOW, n)]
            for wav, n in zip(wavs, lens.tolist(), strict=True)
            for start in range(0, n, WHISPER_WINDOW)
        ]
        valid = [-(-len(w) // WHISPER_HOP) for w in windows]
        layers = self._whisper_windows(windows, valid)
        kept = [x[:, :t] for x, t in zip(layers, valid, strict=True)]
        rows = []
        for n in lens.tolist():
            count = -(-n // WHISPER_WINDOW)
            rows.append(torch.cat(kept[:count], dim=1))
            kept = kept[count:]
        longest = int(frames.max())
        padded = [F.pad(r, (0, 0, 0, longest - r.shape[1])) for r in rows]
        return torch.stack(padded), frames

    def _whisper_windows(
        self, windows: list[torch.Tensor], valid: list[int]
    ) -> torch.Tensor:
        """Give the blocks' outputs (W, L, T, D) on W windows of 30 s."""
        device = windows[0].device
        mel = self.preprocessor(
            [w.cpu().numpy() for w in windows],
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
        ).input_features.to(device)
        encoder, mask = self.model, None
        if self.whisper_context == "valid":
            frames = torch.tensor(valid, device=device)
            mel = mel[..., : 2 * int(frames.max())]
            inside = _inside(mel[:, 0], 2 * frames)[:, None]
            hidden = F.gelu(encoder.conv1(mel * inside)) * inside
            mask = torch.zeros(len(valid), 1, 1, mel.shape[-1] // 2)
            mask = mask.to(device).masked_fill(
                ~inside[:, None, :, ::2], torch.finfo(torch.float32).min
            )
        else:
            hidden = F.gelu(encoder.conv1(mel))
        hidden = F.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        outputs = []
        for block in encoder.layers:
            hidden = block(hidden, mask)
            outputs.append(hidden)
        if self.final_norm:
            outputs[-1] = encoder.layer_norm(hidden)
        return torch.stack(outputs, dim=1).float()


class RowGroupNorm(nn.GroupNorm):
    """The group norm of a convolutional front end, over each row's own frames.

    wav2vec 2.0's first convolution is followed by a norm of each channel over
    time; taken over a padded row it would depend on the padding, and with it
    every feature of the utterance.
    """

    frames: torch.Tensor  # (B,), set before each forward

    @classmethod
    def replace_first(cls, conv_layer: nn.Module) -> None:
        """Put this norm in the place of a channel-wise GroupNorm."""
        old = getattr(conv_layer, "layer_norm", None)
        if isinstance(old, nn.GroupNorm):
            new = cls(old.num_groups, old.num_channels, old.eps)
            new.load_state_dict(old.state_dict())
            conv_layer.layer_norm = new

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise x (B, C, T) over each row's first ``frames`` frames."""
        inside = _inside(x[:, 0], self.frames)[:, None]
        count = self.frames[:, None, None]
        mean = (x * inside).sum(-1, keepdim=True) / count
        centred = (x - mean) * inside
        variance = centred.square().sum(-1, keepdim=True) / count
        normed = centred * torch.rsqrt(variance + self.eps)
        return normed * self.weight[:, None] + self.bias[:, None]


def _inside(x: torch.Tensor, lens: torch.Tensor) -> torch.Tensor:
    """Mask (B, N) of what lies before each row's end."""
    return torch.arange(x.shape[1], device=x.device) < lens[:, None]


def _zeroing(frames: torch.Tensor) -> Callable:
    """Give a hook that zeroes a module's input (B, C, T) after each row's end.

    A batch norm before the positional convolution (some HuBERTs have one)
    shifts the zeros that transformers puts there.
    """

    def hook(_module: nn.Module, inputs: tuple) -> torch.Tensor:
        return inputs[0] * _inside(inputs[0][:, 0], frames)[:, None]

    return hook


def _standardise_rows(wavs: torch.Tensor, lens: torch.Tensor) -> torch.Tensor:
    """Zero mean, unit variance over each row's own samples."""
    inside = _inside(wavs, lens)
    mean = wavs.sum(1, keepdim=True) / lens[:, None]
    centred = (wavs - mean) * inside
    variance = centred.square().sum(1, keepdim=True) / lens[:, None]
    return centred * torch.rsqrt(variance + 1e-7)


def _load_model(source: str) -> tuple[nn.Module, list[str]]:
    """Load through SpeechBrain's interface; give the weights it lacked too.

    transformers fills missing weights with random ones and goes on.
    """
    from huggingface_hub.constants import HF_HUB_CACHE
    from speechbrain.integrations.huggingface.huggingface import (
        HFTransformersInterface,
    )

    class Interface(HFTransformersInterface):
        def _from_pretrained(self, *args, **kwargs) -> None:
            super()._from_pretrained(*args, output_loading_info=True, **kwargs)
            self.model, self.loading_info = self.model

    interface = Interface(
        source,
        save_path="" if Path(source).is_dir() else HF_HUB_CACHE,
        freeze=True,
        dtype=torch.float32,
    )
    return interface.model, sorted(interface.loading_info["missing_keys"])


def _describe(source: str, text: str) -> dict:
    """Read family, depth and width from the text of a Hugging Face config."""
    try:
        config = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise UserError(f"{source}/config.json is broken: {error}") from error
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"The encoder {source} is of the type '{family}'; "
            f"known are {', '.join(FAMILIES)}."
        )
    depth, dim = (
        ("encoder_layers", "d_model")
        if family == "whisper"
        else ("num_hidden_layers", "hidden_size")
    )
    if not {depth, dim} <= config.keys():
        raise UserError(f"{source}/config.json lacks {depth} or {dim}.")
    return {"family": family, "num_layers": config[depth], "dim": config[dim]}


def store_files(name: str, feature_folder: str | Path) -> list[Path]:
    """Descriptions of the feature stores made with an encoder of this name.

    Arguments
    ---------
    name : str
        Name of the encoder, exactly: wavlm-base is not wavlm-base-plus.
    feature_folder : str | Path
        Where the stores lie.

    Returns
    -------
    list[Path]
        Each store's store.json, sorted.
    """
    store = re.compile(re.escape(name) + "-[0-9a-f]{16}")
    files = Path(feature_folder).glob("*/store.json")
    return sorted(f for f in files if store.fullmatch(f.parent.name))


def _described_by_store(name: str, feature_folder: str | None) -> dict | None:
    """Find the encoder's description in a store made with it."""
    for path in store_files(name, feature_folder) if feature_folder else []:
        return json.loads(path.read_text(encoding="utf-8"))["encoder"]
    return None


def _fetch(source: str, filename: str) -> Path:
    """Path of one file of a local folder or, cached or fetched, of a hub id."""
    if Path(source).is_dir():
        path = Path(source) / filename
        if not path.is_file():
            raise UserError(
                f"The encoder folder {source} holds no {filename}; found: "
                f"{', '.join(sorted(p.name for p in Path(source).iterdir()))}."
            )
        return path
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(source, filename)
        if isinstance(cached, str):
            return Path(cached)
        if cached is None:
            return Path(hf_hub_download(source, filename))
        reason = f"it is known to have no {filename}"
    except HFValidationError:
        reason = "it is neither a folder here nor a Hugging Face id"
    except Exception as error:  # the hub's client raises many kinds
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    raise UserError(
        f"The encoder {source} cannot be read ({reason}). Give "
        "--encoder_source a local folder, or download it where there is "
        f"internet: hf download {source}"
    )


def _weight_files(folder: Path) -> list[Path]:
    """Files with the weights, as transformers chooses them."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
