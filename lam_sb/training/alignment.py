"""What an alignment loss is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from itertools import combinations, product

import torch
from torch import nn

from lam_sb.errors import UserError
from lam_sb.models.projector import masked_mean
from lam_sb.training.gather import gather_batch
from lam_sb.training.rows import Batch, Outputs

INPUTS = (
    *("source", "target"),
    *("source_segments", "target_segments", "source_mask", "target_mask"),
    *("source_embeddings", "target_embeddings", "target_logits", "labels"),
)


def aligned_segments(
    z: torch.Tensor, mask: torch.Tensor, time_chunks: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Say what of the projections is aligned.

    Equations 1 and 2 share L^(i), so an utterance is aligned by the mean of
    the very chunks that are pooled and classified; other segments by their own.

    Arguments
    ---------
    z : torch.Tensor
        (B, K + S, M, d) projected chunks and segments.
    mask : torch.Tensor
        (B, K + S) bool, False where one of them has no frames.
    time_chunks : int
        Number of chunks K.

    Returns
    -------
    segments : torch.Tensor
        (B, S, M, d) segments, or (B, 1, M, d) means of chunks where S is 0.
    mask : torch.Tensor | None
        (B, S) bool; None for utterances, all of which have frames.

    Example
    -------
    >>> z = torch.tensor([1.0, 3.0, 8.0]).reshape(1, 3, 1, 1)
    >>> mask = torch.tensor([[True, True, False]])
    >>> aligned_segments(z, mask, time_chunks=3)[0].item()
    2.0
    """
    if z.shape[1] > time_chunks:
        return z[:, time_chunks:], mask[:, time_chunks:]
    return masked_mean(z, mask)[:, None], None


class AlignmentInputs:
    """All that an alignment loss may ask for, of the rows of all processes.

    Arguments
    ---------
    outputs : Outputs
        What the batch gave.
    batch : Batch
        Rows of both domains.
    pooling : nn.Module
        Mixes the layers.
    anchored : list[int]
        Positions of the A anchored layers among those mixed.
    num_support : int
        Source rows at the batch's start that are not aligned: an episode's
        support, which all processes share.
    pair : tuple[tuple[int, int], tuple[int, int]], optional
        The two corpora whose rows count, each by its role, 0 for sources or 1,
        and its number; None for all rows.
    """

    def __init__(
        self,
        outputs: Outputs,
        batch: Batch,
        pooling: nn.Module,
        anchored: list[int],
        num_support: int,
        pair: tuple[tuple[int, int], tuple[int, int]] | None = None,
    ):
        self._given = outputs, batch, pooling, anchored, num_support
        self._pair = pair
        self._outputs = outputs
        self._batch = batch
        self._pooling = pooling
        self._anchored = anchored
        self._num_support = num_support

    def pairs(self, align_sources: bool) -> list[AlignmentInputs]:
        """Give the same of each source with each target.

        Arguments
        ---------
        align_sources : bool
            Whether to give each two sources too, the second in the target's
            place.

        Returns
        -------
        list[AlignmentInputs]
            Only this one where each role has one corpus.
        """
        if self._batch.corpora is None:
            return [self]
        sources, targets = (
            [(role, number) for number in numbers.unique().tolist()]
            for role, numbers in enumerate(self._corpora)
        )
        pairs = [*product(sources, targets)]
        if align_sources:
            pairs += combinations(sources, 2)
        return [AlignmentInputs(*self._given, pair) for pair in pairs]

    @cached_property
    def _corpora(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Number of the corpus of each source and target row."""
        return self._of_roles(self._batch.corpora)

    def _of_roles(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values of the sources' and the targets' rows, of all processes."""
        n = self._batch.num_source
        return gather_batch(x[self._num_support : n]), gather_batch(x[n:])

    def _by_domain(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the same of the two corpora that count, if not all do."""
        values = self._of_roles(x)
        if self._pair is None:
            return values
        return tuple(
            values[role][self._corpora[role] == number]
            for role, number in self._pair
        )

    @cached_property
    def mixed_layers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, M, d), (N', M, d) segments that have frames, of both domains."""
        domains = self._by_domain(self._outputs.segments)
        if self._outputs.segment_mask is None:
            return domains[0][:, 0], domains[1][:, 0]
        masks = self._masks
        return domains[0][masks[0]], domains[1][masks[1]]

    @cached_property
    def _masks(self) -> tuple[torch.Tensor, torch.Tensor]:
        mask = self._outputs.segment_mask
        if mask is None:
            mask = torch.ones_like(self._batch.mask[:, :1])
        return self._by_domain(mask)

    @cached_property
    def _pooled(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._by_domain(self._pooling(self._outputs.segments))

    @cached_property
    def _heads(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._by_domain(self._outputs.embeddings)

    @property
    def source(self) -> torch.Tensor:
        """(N, A, d) source segments with frames, in the anchored layers."""
        return self._in_anchored_layers(0)

    @property
    def target(self) -> torch.Tensor:
        """(N', A, d) target segments with frames, in the anchored layers."""
        return self._in_anchored_layers(1)

    def _in_anchored_layers(self, domain: int) -> torch.Tensor:
        if not self._anchored:
            raise UserError(
                "alignment: it takes source and target, but none of the mixed "
                "layers is anchored. Set anchor_layers; a loss of your own "
                "lists that key in its keys."
            )
        layers = self.mixed_layers[domain].unbind(1)
        return torch.stack([layers[n] for n in self._anchored], 1)

    @property
    def source_segments(self) -> torch.Tensor:
        """(B, S, d) pooled segments of the source."""
        return self._pooled[0]

    @property
    def target_segments(self) -> torch.Tensor:
        """(B', S, d) pooled segments of the target."""
        return self._pooled[1]

    @property
    def source_mask(self) -> torch.Tensor:
        """(B, S) bool, False where a segment of the source has no frames."""
        return self._masks[0]

    @property
    def target_mask(self) -> torch.Tensor:
        """(B', S) bool, False where a segment of the target has no frames."""
        return self._masks[1]

    @property
    def source_embeddings(self) -> torch.Tensor:
        """(B, e) outputs of the head for the source."""
        return self._heads[0]

    @property
    def target_embeddings(self) -> torch.Tensor:
        """(B', e) outputs of the head for the target."""
        return self._heads[1]

    @property
    def target_logits(self) -> torch.Tensor:
        """(B', 4) logits of the target."""
        return self._by_domain(self._outputs.logits)[1]

    @property
    def labels(self) -> torch.Tensor:
        """(B,) emotions of the source rows."""
        return self._by_domain(self._batch.labels)[0]


def alignment_parameters(alignment: Callable) -> list[str]:
    """Names of `INPUTS` that an alignment loss takes.

    Arguments
    ---------
    alignment : Callable
        `lam_sb.losses` says what its parameters may be.

    Returns
    -------
    list[str]
        In its own order.

    Raises
    ------
    UserError
        It has a parameter of another name, without a default.
    """
    function = unwrap(alignment)
    function = getattr(function, "forward", function)
    parameters = inspect.signature(function).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for parameter in parameters:
        known = parameter.name in INPUTS or parameter.kind in several
        if not known and parameter.default is parameter.empty:
            raise UserError(
                f"alignment: it asks for '{parameter.name}', but can be given "
                f"only {', '.join(INPUTS)}."
            )
    return [p.name for p in parameters if p.name in INPUTS]


def aligns_embeddings(alignment: Callable | None, gamma: float) -> bool:
    """Tell whether the target's training rows need the head."""
    if alignment is None or not gamma:
        return False
    asked = {"target_embeddings", "target_logits"}
    return bool(asked & {*alignment_parameters(alignment)})


def call_alignment(
    alignment: Callable, inputs: AlignmentInputs
) -> torch.Tensor:
    """Give an alignment loss what its parameters are named after.

    Arguments
    ---------
    alignment : Callable
        As for `alignment_parameters`.
    inputs : AlignmentInputs
        Of a batch.

    Returns
    -------
    torch.Tensor
        Scalar loss.

    Raises
    ------
    UserError
        It gives no scalar, or takes what there is not.
    """
    names = alignment_parameters(alignment)
    loss = alignment(**{name: getattr(inputs, name) for name in names})
    if not isinstance(loss, torch.Tensor) or loss.ndim:
        kind = getattr(loss, "shape", type(loss).__name__)
        raise UserError(f"alignment: it gives {kind}, no scalar tensor.")
    return loss


def unwrap(module: Callable) -> Callable:
    """Return the module that DistributedDataParallel wraps."""
    return getattr(module, "module", module)
