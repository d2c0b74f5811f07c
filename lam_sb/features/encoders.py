"""Frozen speech encoders that give every transformer layer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from speechbrain.dataio.dataio import length_to_mask
from speechbrain.utils.logger import get_logger
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from lam_sb.errors import UserError, check_choice
from lam_sb.features import hub, wav2vec, whisper
from lam_sb.features.audio import SAMPLE_RATE
from lam_sb.values import CHOICES

logger = get_logger(__name__)
# Weights that are not read: used in training only, or behind the blocks.
NOT_READ = ("masked_spec_embed", "adapter.")


class TooShortError(UserError):
    """An utterance is too short for one frame."""


class FrozenEncoder(nn.Module):
    """A pretrained WavLM, HuBERT, wav2vec 2.0 or Whisper that is only read.

    An utterance has the same features alone and in a padded batch, so
    utterances can be encoded in batches. Construction reads the encoder's
    ``config.json`` alone (or, where that is not here, the description in a
    feature store made with it); the weights load at the first forward. The
    module stays in eval mode whatever ``train()`` asks for, so dropout and
    LayerDrop never act.

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
        encoder when its ``config.json`` is not here; the net comes last.

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
        known = CHOICES["whisper_context"]
        check_choice("whisper_context", whisper_context, known)
        self.source = str(source)
        self.final_norm = final_norm
        self.whisper_context = whisper_context
        description = self._describe(feature_folder)
        self.family: str = description["family"]
        self.num_layers: int = description["num_layers"]
        self.dim: int = description["dim"]
        self.adapter: bool = description["adapter"]
        # Samples that a Whisper sees at once.
        self.window = int(description.get("positions", 0)) * whisper.HOP
        self.model: nn.Module | None = None
        self.options: dict[str, object] = {}  # of the family's own forward
        self.eval()

    def _describe(self, feature_folder: str | None) -> Mapping:
        """Describe it by its config, or by a store rather than ask the net."""
        try:
            with hub.cached_only():
                return hub.describe(self.source)
        except hub.OutOfReachError:
            stores = hub.read_store_descriptions(self.name, feature_folder)
        if not stores:
            return hub.describe(self.source)
        store = next(iter(stores.values()))
        settings = store["settings"]
        seconds = settings.get("whisper_window", 30)
        return store["encoder"] | {
            "adapter": "adapter" in settings,
            "positions": seconds * SAMPLE_RATE // whisper.HOP,
        }

    @property
    def name(self) -> str:
        """Last part of the source, as feature stores are named."""
        return Path(self.source).name

    @property
    def phone_revision(self) -> int:
        """Raised when frames of this family come to lie in other phones.

        1: Whisper's frames had been taken to be 0.01 s later than they are.
        """
        return int(self.family == "whisper")

    @property
    def settings(self) -> dict[str, object]:
        """What the layers depend on besides weights and configs."""
        settings: dict[str, object] = {"final_norm": self.final_norm}
        if self.adapter:  # stores without this word lack most frames
            settings["adapter"] = "left out"
        if self.family == "whisper":
            settings["whisper_context"] = self.whisper_context
            seconds = self.window / SAMPLE_RATE
            whole = seconds.is_integer()
            settings["whisper_window"] = int(seconds) if whole else seconds
        return settings

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, config and preprocessor config, by content.

        Raises
        ------
        UserError
            They cannot be read, or are those of another front end.
        """
        if not hub.weight_files(self.source) and hub.on_net.get():
            self.load()  # downloads them
        _ = self.standardises  # refused or guessed before anything is encoded
        return hub.content_hash(self.source)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stay in eval mode, whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, wavs: torch.Tensor, lens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a padded batch; on a CPU row by row.

        That is faster there, as nothing is padded, and a row's layers are the
        same to the last bit whatever else is in the batch. On a GPU, a batch of
        other rows may round them otherwise.

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
        TooShortError
            A row is too short for one frame.
        """
        if wavs.device.type != "cpu":
            return self.encode_together(wavs, lens)
        rows = [
            self.encode_together(wav[None, :n], n[None])
            for wav, n in zip(wavs, lens, strict=True)
        ]
        frames = torch.cat([count for _, count in rows])
        by_frame = [layers[0].transpose(0, 1) for layers, _ in rows]
        return pad_sequence(by_frame, True).transpose(1, 2), frames

    @torch.no_grad()
    def encode_together(
        self, wavs: torch.Tensor, lens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a padded batch at once, as `forward` does on a GPU."""
        self.load()
        self.model.to(wavs.device)
        lens = lens.to(wavs.device).long()
        inside = length_to_mask(lens, wavs.shape[1], torch.bool)
        wavs = wavs.float().masked_fill(~inside, 0)
        encode = whisper.encode if self.family == "whisper" else wav2vec.encode
        layers, frames = encode(
            self.model,
            wavs=wavs,
            lens=lens,
            final_norm=self.final_norm,
            **self.options,
        )
        if frames.min() < 1:
            raise TooShortError(
                f"An utterance of {int(lens.min())} samples is too short for "
                f"one frame of {self.source}; set min_duration."
            )
        return layers, frames

    def frame_centres(self, count: int) -> list[float]:
        """When the middle of each frame's samples is heard, in seconds.

        Whisper's windows and convolutions are centred on their first sample,
        those of the others begin there.
        """
        shift, width = whisper.HOP, 0
        if self.family != "whisper":
            self.load()
            shift, width = wav2vec.frame_geometry(self.model.config)
        return [(shift * t + width / 2) / SAMPLE_RATE for t in range(count)]

    def seconds_encoded(self, duration: float) -> float:
        """Seconds that it works on for an utterance of this duration."""
        window = self.window / SAMPLE_RATE
        if self.family == "whisper" and (
            duration > window or self.whisper_context == "full"
        ):
            return -(-duration // window) * window
        return duration

    def load(self) -> None:
        """Load the weights, once.

        Raises
        ------
        UserError
            They cannot be read, or the checkpoint lacks some.
        """
        if self.model is not None:
            return
        hub.fetch(self.source, "config.json")  # says why it can't be read
        model, missing = hub.load_model(self.source)
        standardises = self.standardises
        if self.family == "whisper":
            bins = model.config.num_mel_bins
            self.options = {
                "log_mel": whisper.make_log_mel(bins, self.window),
                "window": self.window,
                "context": self.whisper_context,
            }
            model = model.encoder
            missing = [k for k in missing if k.startswith("encoder.")]
        else:
            self.options = {"standardise": standardises}
            wav2vec.prepare_model(model)
        missing = [k for k in missing if not k.startswith(NOT_READ)]
        if missing:
            raise UserError(
                f"The checkpoint {self.source} lacks {len(missing)} weights of "
                f"its encoder, {missing[0]} the first."
            )
        self.model = model.eval().requires_grad_(False)

    @cached_property
    def standardises(self) -> bool:
        """Whether waveforms are standardised, as in the encoder's training.

        A checkpoint without a preprocessor config does what is usual for its
        kind of front end, which is said.

        Raises
        ------
        UserError
            The feature extractor is one that is not supported.
        """
        found = hub.read_preprocessor(self.source)
        settings = {} if found is None else found[1]
        self._check_front_end(settings)
        if self.family == "whisper":
            return False
        if found is not None:
            return settings.get("do_normalize", True)
        guess = hub.has_layer_norm_in_front(self.source)
        logger.warning_once(
            f"{self.source} has neither preprocessor_config.json nor "
            "processor_config.json: its waveforms are "
            f"{'standardised' if guess else 'not standardised'}, which is a "
            "guess; fetch that file if it should be otherwise."
        )
        return guess

    def _check_front_end(self, settings: Mapping) -> None:
        known = {"sampling_rate": SAMPLE_RATE}
        if self.family == "whisper":
            known = whisper.FRONT_END
        for key, value in known.items():
            if settings.get(key, value) != value:
                raise UserError(
                    f"The encoder {self.source} wants {key}: {settings[key]}, "
                    f"but only {key}: {value} is supported; name another "
                    "with --encoder_source."
                )
