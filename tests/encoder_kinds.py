"""Kinds of encoders, and their layers as transformers gives them."""

from __future__ import annotations

import json

import torch

RATE = 16000
LENS = torch.tensor([400, 1680, 5000, 8000, 12345, 16000, 20001, 24000])
STABLE = {
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "do_normalize": True,
}
KINDS = {
    "wavlm": ("wavlm", {}),
    "hubert": ("hubert", {}),
    "hubert_batch_norm": ("hubert", {"conv_pos_batch_norm": True}),
    "wav2vec2": ("wav2vec2", {}),
    "wav2vec2_normalized": ("wav2vec2", {"do_normalize": True}),
    "wav2vec2_stable": ("wav2vec2", STABLE),
    "hubert_stable": ("hubert", STABLE),
    "wavlm_stable": ("wavlm", STABLE),
    "whisper": ("whisper", {}),
}


def layer_errors(ours, theirs) -> torch.Tensor:
    """Relative error of each layer of (L, T, D)."""
    assert ours.shape == theirs.shape
    difference = (ours - theirs).flatten(1).norm(dim=1)
    return difference / theirs.flatten(1).norm(dim=1)


def batch_error(encoder, wavs) -> float:
    """Largest relative error of a layer, in a batch against alone."""
    layers, frames = encoder.encode_together(wavs, LENS)
    worst = 0.0
    for row, n, wav, t in zip(layers, LENS, wavs, frames, strict=True):
        alone, count = encoder(wav[None, :n], n[None])
        assert count.tolist() == [t]
        assert alone.shape[2] == t
        worst = max(worst, float(layer_errors(row[:, :t], alone[0]).max()))
    return worst


def plain_model(folder):
    """Transformers' own encoder, with the weights in float32."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model.encoder if "whisper" in str(folder) else model


def plain_input(folder, wav) -> torch.Tensor:
    from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    if "whisper" in str(folder):
        extractor = WhisperFeatureExtractor(feature_size=80)
    else:
        text = (folder / "preprocessor_config.json").read_text()
        extractor = Wav2Vec2FeatureExtractor(**json.loads(text))
    data = extractor(wav.numpy(), sampling_rate=RATE, return_tensors="pt")
    return next(iter(data.values()))


@torch.no_grad()
def plain_layers(model, data) -> tuple[torch.Tensor, torch.Tensor]:
    """What leaves each block (L, T, D), and the last hidden state (T, D)."""
    blocks = getattr(model, "layers", None) or model.encoder.layers
    outputs = {}
    for n, block in enumerate(blocks):
        block.register_forward_hook(
            lambda _block, _inputs, out, n=n: outputs.__setitem__(
                n, out[0] if isinstance(out, tuple) else out
            )
        )
    last = model(data).last_hidden_state[0]
    return torch.cat([outputs[n] for n in range(len(blocks))]), last
