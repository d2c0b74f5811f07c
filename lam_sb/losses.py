"""Alignment of two domains, prototypes, and weighted cross-entropy.

An alignment loss sees the rows of all processes: the Brain gathers them.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from speechbrain.utils.autocast import fwd_default_precision
from torch import nn

from lam_sb.errors import UserError, check_choice
from lam_sb.phones import VOWELS

NEGATIVES = ("emotion", "vowel")
SCALES = ("frobenius", "per_dim", "deep_coral")
REDUCTIONS = ("sum", "mean")


def covariance(z: torch.Tensor) -> torch.Tensor:
    """Covariances of a batch, layer by layer, with n - 1.

    Arguments
    ---------
    z : torch.Tensor
        (B, A, d) vectors of A layers.

    Returns
    -------
    torch.Tensor
        (A, d, d)

    Example
    -------
    >>> covariance(torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]]]))
    tensor([[[2., 0.],
             [0., 0.]]])
    """
    centred = (z - z.mean(0)).transpose(0, 1)
    return centred.mT @ centred / (len(z) - 1)


def coral_distances(
    source: torch.Tensor, target: torch.Tensor, scale: str = "frobenius"
) -> torch.Tensor:
    """Distance of two domains' covariances, layer by layer (equation 1).

    Arguments
    ---------
    source, target : torch.Tensor
        (B, A, d), (B', A, d) vectors of A layers.
    scale : str
        ``frobenius``: ||Cs - Ct||_F, as in the paper; ``per_dim``: divided by
        d; ``deep_coral``: ||Cs - Ct||_F^2 / (4 d^2), Sun & Saenko (2016).

    Returns
    -------
    torch.Tensor
        (A,); 0 where a domain has fewer than two rows.
    """
    if min(len(source), len(target)) < 2:
        return (source.sum() + target.sum()) * source.new_zeros(source.shape[1])
    difference = covariance(source) - covariance(target)
    norms = torch.linalg.matrix_norm(difference)  # gradient 0 at 0, not NaN
    if scale == "deep_coral":
        return norms.square() / (4 * source.shape[-1] ** 2)
    return norms / source.shape[-1] if scale == "per_dim" else norms


class LayerCoral(nn.Module):
    """CORAL on the anchored layers (equation 1).

    Arguments
    ---------
    scale : str
        frobenius, per_dim or deep_coral; see `coral_distances`.
    reduce : str
        ``sum`` over the anchored layers, as in the paper, or ``mean``.

    Example
    -------
    >>> source = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])  # Cov: 2, 0
    >>> target = torch.tensor([[[0.0, 1.0]], [[0.0, -1.0]]])  # Cov: 0, 2
    >>> round(LayerCoral()(source, target).item(), 4)  # sqrt(2^2 + 2^2)
    2.8284
    >>> round(LayerCoral(scale="deep_coral")(source, target).item(), 4)
    0.5
    """

    def __init__(self, scale: str = "frobenius", reduce: str = "sum"):
        super().__init__()
        check_choice("scale", scale, SCALES)
        check_choice("reduce", reduce, REDUCTIONS)
        self.scale = scale
        self.reduce = reduce

    @fwd_default_precision(cast_inputs=torch.float32)
    def forward(
        self, source: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """Compare the domains.

        Arguments
        ---------
        source, target : torch.Tensor
            (B, A, d), (B', A, d) projected vectors of the A anchored layers.

        Returns
        -------
        torch.Tensor
            Scalar loss, in float32 whatever the autocast.
        """
        distances = coral_distances(source, target, self.scale)
        return getattr(distances, self.reduce)()


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
        Vowels that anchor, of `lam_sb.phones.VOWELS`.
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
        source: torch.Tensor,
        target: torch.Tensor,
        source_mask: torch.Tensor,
        target_mask: torch.Tensor,
        labels: torch.Tensor,
    ) -> torch.Tensor:
        """Compare the vowels of both domains.

        Arguments
        ---------
        source, target : torch.Tensor
            (B, 6, d), (B', 6, d) pooled segments of the vowels, in the
            order of `lam_sb.phones.VOWELS`.
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
        source, source_vowel, rows = self._segments(source, source_mask)
        target, target_vowel, _ = self._segments(target, target_mask)
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

    def _segments(
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


class _Reversal(torch.autograd.Function):
    """Identity whose gradient is reversed (Ganin & Lempitsky 2015)."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient


class DomainAdversary(nn.Module):
    """Classifier of the domain, behind a gradient reversal.

    It learns to tell the domains apart while the gradient that it sends back
    makes them harder to tell apart (Ganin & Lempitsky 2015).

    Arguments
    ---------
    dim : int
        Width of the embeddings, and of the hidden layer.

    Example
    -------
    >>> adversary = DomainAdversary(dim=4)
    >>> adversary(torch.zeros(3, 4), torch.zeros(2, 4)).ndim
    0
    """

    def __init__(self, dim: int = 64):
        super().__init__()
        self.classifier = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1)
        )

    @fwd_default_precision(cast_inputs=torch.float32)
    def forward(
        self, source: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """Cross-entropy of telling source (B, e) from target (B', e)."""
        is_source, is_target = (
            self.classifier(_Reversal.apply(x)).float()
            for x in (source, target)
        )
        softplus = nn.functional.softplus
        return (softplus(-is_source).mean() + softplus(is_target).mean()) / 2


def class_means(
    x: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """Prototype of each class: the mean of its embeddings (Snell et al. 2017).

    Arguments
    ---------
    x : torch.Tensor
        (N, e) embeddings.
    labels : torch.Tensor
        (N,) classes; rows with -1 do not count.
    num_classes : int
        Number of classes C.

    Returns
    -------
    torch.Tensor
        (C, e), not a number for a class without rows.

    Example
    -------
    >>> x = torch.tensor([[1.0], [3.0], [5.0]])
    >>> class_means(x, torch.tensor([0, 0, 1]), 2).tolist()
    [[2.0], [5.0]]
    """
    member = nn.functional.one_hot(labels + 1, num_classes + 1)[:, 1:]
    member = member.to(x.dtype)
    return member.T @ x / member.sum(0)[:, None]


def prototype_logits(x: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """Logits (N, C) of x (N, e): minus squared distances to C prototypes."""
    return -(x[:, None] - prototypes).square().sum(-1)


def gather_batch(x: torch.Tensor) -> torch.Tensor:
    """Join the batches of all processes, differentiably.

    Arguments
    ---------
    x : torch.Tensor
        (B, ...) of this process, B equal on all; of any type.

    Returns
    -------
    torch.Tensor
        (world B, ...), x itself without distributed processes. A loss of it is
        the same on all processes; the gradient of this process's rows counts
        ``world`` times, since DistributedDataParallel averages over processes.
    """
    if not dist.is_available() or not dist.is_initialized():
        return x
    if x.dtype == torch.bool:
        return gather_batch(x.byte()).bool()
    world = dist.get_world_size()
    sent = x.detach().contiguous()
    gathered = [torch.empty_like(sent) for _ in range(world)]
    dist.all_gather(gathered, sent)
    if x.requires_grad:
        gathered[dist.get_rank()] = sent + world * (x - x.detach())
    return torch.cat(gathered)


def weighted_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Class-weighted cross-entropy, divided by the number of rows.

    PyTorch divides by the sum of the batch's weights, which differs between
    processes; divided by B, the mean over processes is the loss of one.

    Arguments
    ---------
    logits : torch.Tensor
        (B, C)
    labels : torch.Tensor
        (B,) class of each row; -1 marks a row that does not count.
    weight : torch.Tensor
        (C,) class weights.

    Returns
    -------
    torch.Tensor
        Scalar loss.
    """
    losses = nn.functional.cross_entropy(
        logits.float(), labels, weight, ignore_index=-1, reduction="sum"
    )
    return losses / (labels >= 0).sum().clamp(min=1)


def balanced_weights(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Class weights w_c = N / (C n_c).

    Arguments
    ---------
    labels : torch.Tensor
        (N,) classes of the labelled source rows.
    num_classes : int
        Number of classes C.

    Returns
    -------
    torch.Tensor
        (C,), 0 for a class without rows.

    Example
    -------
    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels, minlength=num_classes).float()
    weights = len(labels) / (num_classes * counts.clamp(min=1))
    return weights * (counts > 0)
