"""Frozen speech encoders that give every transformer layer."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import torch
from speechbrain.dataio.dataio import length_to_mask
from torch import nn

from lam_sb.errors import UserError, check_choice
from lam_sb.features import hub, wav2vec, whisper
from lam_sb.features.audio import SAMPLE_RATE

# Weights that transformers adds and that are used in training only.
NOT_READ = ("masked_spec_embed",)


class FrozenEncoder(nn.Module):
    """A pretrained WavLM, HuBERT, wav2vec 2.0 or Whisper that is only read.

    An utterance has the same features alone and in a padded batch, so
    utterances can be encoded in batches. Construction reads the encoder's
    ``config.json`` alone (or, where that cannot be reached, the description in
    a feature store made with it); the weights load at the first forward. The
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
            description = hub.describe(self.source)
        except UserError:
            if feature_folder is None:
                raise
            stores = hub.read_store_descriptions(self.name, feature_folder)
            if not stores:
                raise
            description = next(iter(stores.values()))["encoder"]
            self.reachable = False
        self.family: str = description["family"]
        self.num_layers: int = description["num_layers"]
        self.dim: int = description["dim"]
        self.model: nn.Module | None = None
        self.options: dict[str, object] = {}  # of the family's own forward
        self.eval()

    @property
    def name(self) -> str:
        """Last part of the source, as feature stores are named."""
        return Path(self.source).name

    @property
    def settings(self) -> dict[str, object]:
        """What the layers depend on besides weights and configs."""
        settings: dict[str, object] = {"final_norm": self.final_norm}
        if self.family == "whisper":
            settings["whisper_context"] = self.whisper_context
            settings["whisper_window"] = whisper.WINDOW // SAMPLE_RATE
        return settings

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, config and preprocessor config, by content."""
        if not self.reachable:
            raise UserError(f"The encoder {self.source} cannot be read.")
        if not hub.weight_files(self.source):
            self.load()  # downloads them
        return hub.content_hash(self.source)

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
            raise UserError(
                f"An utterance of {int(lens.min())} samples is too short for "
                f"one frame of {self.source}; set min_duration."
            )
        return layers, frames

    def frame_centres(self, count: int) -> list[float]:
        """When the middle of each frame's samples is heard, in seconds."""
        shift = width = whisper.HOP
        if self.family != "whisper":
            self.load()
            shift, width = wav2vec.frame_geometry(self.model.config)
        return [(shift * t + width / 2) / SAMPLE_RATE for t in range(count)]

    def seconds_encoded(self, duration: float) -> float:
        """Seconds that it works on for an utterance of this duration."""
        window = whisper.WINDOW / SAMPLE_RATE
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
        if not self.reachable:
            hub.fetch(self.source, "config.json")  # says why it can't be read
        model, missing = hub.load_model(self.source)
        if self.family == "whisper":
            from transformers import WhisperFeatureExtractor

            log_mel = WhisperFeatureExtractor(
                feature_size=model.config.num_mel_bins
            )
            self.options = {"log_mel": log_mel, "context": self.whisper_context}
            model = model.encoder
            missing = [k for k in missing if k.startswith("encoder.")]
        else:
            self.options = {"standardise": self._standardises(model.config)}
            first = model.feature_extractor.conv_layers[0]
            wav2vec.RowGroupNorm.replace_first(first)
        missing = [k for k in missing if k not in NOT_READ]
        if missing:
            raise UserError(
                f"The checkpoint {self.source} lacks {len(missing)} weights of "
                f"its encoder, {missing[0]} the first."
            )
        self.model = model.eval().requires_grad_(False)

    def _standardises(self, config: object) -> bool:
        """Whether waveforms are standardised, as in the encoder's training."""
        path = hub.fetch_preprocessor_config(self.source)
        if path is None:
            return config.feat_extract_norm == "layer"
        return json.loads(path.read_text()).get("do_normalize", True)
