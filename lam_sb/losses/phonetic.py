"""A triplet loss on vowels that both languages have."""

from __future__ import annotations

import torch
from speechbrain.utils.autocast import fwd_default_precision
from torch import nn

from lam_sb.corpora.phones import VOWELS
from lam_sb.errors import UserError, check_choice

NEGATIVES = ("emotion", "vowel")


class PhoneticAnchor(nn.Module):
    """Triplet loss that anchors the domains on common vowels.

    After Upadhyay et al., "Phonetic Anchor-Based Transfer Learning to
    Facilitate Unsupervised Cross-Lingual Speech Emotion Recognition" (ICASSP
    2023), whose text leaves two readings open:

    - ``negative="emotion"``: a source vowel is drawn to the nearest target
      segment of the same vowel, away from a source segment of the same vowel
      and another emotion;
    - ``negative="vowel"``: a target vowel is drawn to the nearest source
      segment of the same vowel, away from a source segment of another vowel.

    Distances are squared and Euclidean, between vectors of length 1. The
    negative is semi-hard (Schroff et al. 2015): the nearest one that is farther
    away than the positive, or the farthest where none is.

    Arguments
    ---------
    vowels : list[str]
        Vowels that anchor, of `lam_sb.corpora.phones.VOWELS`.
    negative : str
        emotion or vowel.
    margin : float
        By how much the negative should be farther than the positive.

    Raises
    ------
    UserError
        An unknown vowel or ``negative``, or too few vowels for it.

    Example
    -------
    >>> anchor = PhoneticAnchor(["a", "i"], negative="vowel", margin=0.2)
    >>> vowels = torch.eye(6)[None]  # one row that has all six vowels
    >>> mask = torch.ones(1, 6, dtype=torch.bool)
    >>> label = torch.zeros(1, dtype=torch.long)
    >>> anchor(vowels, vowels, mask, mask, label).item()  # 0 - 2 + 0.2 < 0
    0.0
    """

    keys = ("segment", "vowels", "negative", "margin")
    segments = ("vowel_classes",)

    def __init__(
        self,
        vowels: list[str],
        negative: str = "emotion",
        margin: float = 0.2,
    ):
        super().__init__()
        check_choice("negative", negative, NEGATIVES)
        for vowel in vowels:
            check_choice("vowels", vowel, VOWELS)
        if len(set(vowels)) < (2 if negative == "vowel" else 1):
            raise UserError(
                f"vowels: {vowels} are too few for negative: {negative}."
            )
        self.positions = [n for n, v in enumerate(VOWELS) if v in vowels]
        self.negative = negative
        self.margin = margin

    @fwd_default_precision(cast_inputs=torch.float32)
    def forward(
        self,
        source_segments: torch.Tensor,
        target_segments: torch.Tensor,
        source_mask: torch.Tensor,
        target_mask: torch.Tensor,
        labels: torch.Tensor,
    ) -> torch.Tensor:
        """Compare the vowels of both domains.

        Arguments
        ---------
        source_segments, target_segments : torch.Tensor
            (B, 6, d), (B', 6, d) pooled segments of the vowels, in the
            order of `lam_sb.corpora.phones.VOWELS`.
        source_mask, target_mask : torch.Tensor
            (B, 6), (B', 6) bool, False where a row has no such vowel.
        labels : torch.Tensor
            (B,) emotions of the source rows.

        Returns
        -------
        torch.Tensor
            Scalar, the mean over the anchors that have a positive and a
            negative; 0 where none has.
        """
        source, source_vowel, rows = self._present(source_segments, source_mask)
        target, target_vowel, _ = self._present(target_segments, target_mask)
        emotion = labels[rows]
        if self.negative == "emotion":
            anchor, positive = source, target
            alike = source_vowel[:, None] == target_vowel
            other = source_vowel[:, None] == source_vowel
            other &= emotion[:, None] != emotion
        else:
            anchor, positive = target, source
            alike = target_vowel[:, None] == source_vowel
            other = ~alike
        valid = alike.any(1) & other.any(1)
        if not valid.any():
            return source.sum() * 0
        far = torch.inf
        near = _distances(anchor[valid], positive)
        near = near.masked_fill(~alike[valid], far).amin(1)
        away = _distances(anchor[valid], source)
        semi_hard = other[valid] & (away > near[:, None])
        nearest = away.masked_fill(~semi_hard, far).amin(1)
        farthest = away.masked_fill(~other[valid], -far).amax(1)
        away = torch.where(semi_hard.any(1), nearest, farthest)
        return (near - away + self.margin).clamp(min=0).mean()

    def _present(
        self, x: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Segments with frames: unit vectors (N, d), vowels and rows (N,)."""
        mask = mask[:, self.positions]
        rows, vowels = mask.nonzero(as_tuple=True)
        unit = nn.functional.normalize(x[:, self.positions][mask], dim=-1)
        return unit, vowels, rows


def _distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Squared distances (N, M) of unit vectors (N, d) and (M, d)."""
    return 2 - 2 * x @ y.T
