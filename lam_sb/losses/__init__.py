"""Losses: cross-entropy, and those that align two domains.

An alignment loss is any callable that gives a scalar, named by the YAML's
``alignment``. It is given what its parameters are named after:

- ``source``, ``target``: (N, A, d), (N', A, d) projected segments of the A
  anchored layers, without those that have no frames;
- ``source_segments``, ``target_segments``: (B, S, d), (B', S, d) segments after
  the layers are mixed, with ``source_mask`` and ``target_mask``, (B, S) and
  (B', S) bool, which are False where a segment has no frames;
- ``source_embeddings``, ``target_embeddings``: (B, e), (B', e) outputs of the
  head;
- ``target_logits``: (B', 4) logits of the emotions;
- ``labels``: (B,) emotions of the source rows.

Attributes may say more: ``keys``, the YAML keys that it uses (any, if it does
not say); ``segments``, the values of the YAML's ``segment`` that it takes;
``recordable``, True where a GPU may record its work in one step and repeat it
in the next: no value of Python changes, and none is read from the GPU. One that
has weights to learn stands among the YAML's ``modules`` too, as in
``hparams/few_shot_wavlm.yaml``.
"""
