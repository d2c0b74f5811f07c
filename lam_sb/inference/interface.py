"""A trained model as SpeechBrain's users load and call it."""

from __future__ import annotations

from pathlib import Path

import torch
from speechbrain.inference.interfaces import Pretrained

from lam_sb.corpora.audio import check_audio
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.errors import UserError
from lam_sb.features.audio import SAMPLE_RATE, load_audio
from lam_sb.features.encoding import Waveforms, encode_batch, exact_matmul

NO_PHONES = {"phones": [], "phone_set": ""}


class EmotionClassifier(Pretrained):
    """Recognises neutral, happy, angry and sad speech.

    Made by ``python -m lam_sb export``, loaded by ``from_hparams`` or, without
    naming this class, by SpeechBrain's ``foreign_class``. A batch gives what
    its utterances give one by one.

    Example
    -------
    >>> from lam_sb.inference import EmotionClassifier
    >>> model = EmotionClassifier.from_hparams(
    ...     "exported_folder"
    ... )  # doctest: +SKIP
    >>> posteriors, score, index, label = model.classify_file(
    ...     "speech.wav"
    ... )  # doctest: +SKIP
    """

    MODULES_NEEDED = ("encoder", "classifier")
    HPARAMS_NEEDED = ("label_encoder", "encoding", "encoder_digest")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._is_checked = False
        if self.labels != list(EMOTIONS):
            raise UserError(
                f"label_encoder.txt names {', '.join(self.labels)}, not "
                f"{', '.join(EMOTIONS)}: export or download the model again."
            )
        for key, value in self.mods.classifier.values.items():
            here = getattr(self.hparams, key, None)
            if here != value:
                raise UserError(
                    f"{key} is {here!r}, but the model was exported with "
                    f"{value!r}: leave hyperparams.yaml as it was, but for "
                    "encoder_source, or export or download the model again."
                )

    @property
    def labels(self) -> list[str]:
        """The emotions, in the order of the posteriors."""
        decoded = self.hparams.label_encoder.ind2lab
        return [decoded[n] for n in sorted(decoded)]

    def encode_batch(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor | None = None,
        normalize: bool = False,
    ) -> torch.Tensor:
        """Give the means of all layers of the encoder that are classified.

        Arguments
        ---------
        wavs : torch.Tensor
            (B, N), (N,) or (B, N, channels) waveforms at 16 kHz.
        wav_lens : torch.Tensor, optional
            (B,) lengths relative to the longest, N.
        normalize : bool
            True gives the layers that are mixed alone, standardised with the
            model's statistics (the mean over its systems, if they differ).

        Returns
        -------
        torch.Tensor
            (B, K, L, D) of L layers and K chunks of equal time (1 for models
            that classify whole utterances).

        Raises
        ------
        UserError
            An utterance too short for a frame, or an encoder out of reach or
            with other weights than the model was trained on.
        """
        x, _ = self._features(wavs, wav_lens)
        return self.mods.classifier.standardised(x) if normalize else x

    def classify_batch(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
        """Classify a padded batch.

        Arguments
        ---------
        wavs, wav_lens : torch.Tensor
            As for `encode_batch`.

        Returns
        -------
        out_prob : torch.Tensor
            (B, 4) posteriors; `EncoderClassifier` gives their logarithms.
        score : torch.Tensor
            (B,) posterior of the likeliest emotion.
        index : torch.Tensor
            (B,) its number.
        text_lab : list[str]
            Its name.

        Raises
        ------
        UserError
            As `encode_batch`.
        """
        posteriors = self.posteriors(*self._features(wavs, wav_lens))
        score, index = posteriors.max(-1)
        names = self.labels
        return posteriors, score, index, [names[n] for n in index.tolist()]

    def classify_file(
        self, path: str | Path
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
        """Classify a file as one utterance; see `classify_batch`.

        Arguments
        ---------
        path : str | Path
            Audio of any rate and number of channels, best of a few seconds:
            ``python -m lam_sb predict`` cuts longer ones.

        Raises
        ------
        UserError
            The file cannot be read to its end or is silent, or as
            `encode_batch`.
        """
        wav = load_audio(path)
        problem = check_audio(Path(path)).get("problem")
        if problem:
            raise UserError(f"{path} cannot be classified: {problem}.")
        return self.classify_batch(wav[None])

    def forward(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
        """Do as `classify_batch`."""
        return self.classify_batch(wavs, wav_lens)

    @torch.no_grad()
    def posteriors(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Posteriors (B, 4) of what `encode` gives."""
        return self.mods.classifier(x.to(self.device), mask.to(self.device))

    def encode(
        self, wavs: list[torch.Tensor], names: list[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode utterances as their features would be stored for training.

        Arguments
        ---------
        wavs : list[torch.Tensor]
            (N,) waveform of each at 16 kHz.
        names : list[str]
            What errors call each.

        Returns
        -------
        x : torch.Tensor
            (B, K, L, D) means, on the CPU.
        mask : torch.Tensor
            (B, K) bool, False where a chunk has no frames.

        Raises
        ------
        UserError
            As `encode_batch`.
        """
        rows = [
            (name, NO_PHONES | {"duration": len(wav) / SAMPLE_RATE})
            for name, wav in zip(names, wavs, strict=True)
        ]
        return self.encode_rows(Waveforms(rows, wavs))

    def encode_rows(
        self, batch: Waveforms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do as `encode`, of a batch of rows with their waveforms."""
        self._check_encoder()
        encoder, settings = self.mods.encoder, self.hparams.encoding
        with exact_matmul():
            parts = encode_batch(encoder, settings, batch, str(self.device))
        segment = self.mods.classifier.segment
        x, frames = parts[segment].float(), parts[f"{segment}.frames"]
        if segment == "utterance":
            x, frames = x[:, None], frames[:, None]
        return x, frames > 0

    def _features(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if wavs.ndim == 1:
            wavs = wavs[None]
        if wavs.ndim == 3:
            wavs = wavs.mean(-1)
        lens = torch.ones(len(wavs)) if wav_lens is None else wav_lens
        counts = (lens.cpu() * wavs.shape[1]).round().long().tolist()
        wavs = wavs.float().cpu()
        return self.encode(
            [wav[:n] for wav, n in zip(wavs, counts, strict=True)],
            [f"Utterance {n}" for n in range(1, len(wavs) + 1)],
        )

    def _check_encoder(self) -> None:
        """Refuse another encoder than the model was trained on."""
        if self._is_checked:
            return
        encoder, known = self.mods.encoder, self.hparams.encoder_digest
        if known is not None and encoder.digest != known:
            raise UserError(
                f"The encoder {encoder.source} has other weights or another "
                "config than the one that this model was trained on, so its "
                "results would be wrong. Give that one as encoder_source "
                "(overrides={'encoder_source': ...}, or --encoder_source)."
            )
        self._is_checked = True
