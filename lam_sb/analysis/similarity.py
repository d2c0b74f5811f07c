"""How alike two corpora's features are, layer by layer.

One pass over each corpus leaves sums by speaker group, emotion and segment;
the measures, their intervals and the choice of the layers to anchor all come
from those, whatever the number of utterances is. Features are raw, never
standardised.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch.nn.functional import normalize

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.corpora.phones import VOWELS
from lam_sb.errors import UserError, check_choice
from lam_sb.features.segments import PHONE_SEGMENTS
from lam_sb.files import whole_file
from lam_sb.training.rows import DomainRows
from lam_sb.training.standardisation import READ_AT_ONCE

MEAN_MEASURES = ("centroid", "pairwise", "centred")
COVARIANCE_MEASURES = ("covariance", "covariance_standardised")
MEASURES = MEAN_MEASURES + COVARIANCE_MEASURES
SEGMENTS = ("utterance", "vowels", "consonants", *VOWELS)
ALL = "all"
COLUMNS = (
    "layer",
    "emotion",
    "segment",
    "measure",
    "value",
    "low",
    "high",
    "n_source",
    "n_target",
)
GROUPS = 50  # of speakers at most: memory is bounded by them
SPLITS = 20  # into halves of the speaker groups
TOP_DIMENSIONS = 3
TOP_LAYERS = 3
CONFIDENCE = 0.95


@dataclass(eq=False)
class SegmentSums:
    """Sums over the rows that have a segment.

    Arguments
    ---------
    counts : np.ndarray
        (G, 5) rows of each speaker group and emotion; the fifth emotion holds
        the unlabelled rows.
    vectors, units : np.ndarray
        (G, 5, L, D) float64 sums of the vectors, and of the vectors scaled to
        length 1.
    """

    counts: np.ndarray
    vectors: np.ndarray
    units: np.ndarray

    @classmethod
    def zeros(cls, num_groups: int, shape: Sequence[int]) -> SegmentSums:
        """Make sums of no rows, of G groups and vectors (L, D)."""
        size = num_groups, len(EMOTIONS) + 1
        return cls(
            np.zeros(size, dtype=np.int64),
            np.zeros((*size, *shape)),
            np.zeros((*size, *shape)),
        )

    def add(self, cells: torch.Tensor, values: torch.Tensor) -> None:
        """Add values (n, L, D) to the cells (n,), 5 group + emotion."""
        added = np.bincount(cells, minlength=self.counts.size)
        self.counts += added.reshape(self.counts.shape)
        pairs = (self.vectors, values), (self.units, normalize(values, dim=-1))
        for sums, x in pairs:
            torch.from_numpy(sums).flatten(0, 1).index_add_(0, cells, x)


@dataclass(eq=False)
class CorpusSums:
    """What one pass over a corpus leaves.

    Arguments
    ---------
    segments : dict[str, SegmentSums]
        By name, of those that any row has.
    products : np.ndarray, optional
        (5, L, D, D) sums of the outer products of the utterance vectors by
        emotion; None if they were not asked for.

    Of 50 groups, 12 layers and 768 dimensions, a segment takes 37 MB and the
    products 283 MB.
    """

    segments: dict[str, SegmentSums]
    products: np.ndarray | None = None

    @property
    def utterances(self) -> SegmentSums:
        """Sums of whole utterances, which every corpus has."""
        return self.segments["utterance"]

    @property
    def num_groups(self) -> int:
        """Number of speaker groups G."""
        return len(self.utterances.counts)


def corpus_sums(rows: DomainRows, covariance: bool = False) -> CorpusSums:
    """Sum the raw features of a corpus in one pass.

    Arguments
    ---------
    rows : DomainRows
        Its training rows. Clusters fall into at most 50 groups, so memory
        grows neither with them nor with the number of rows.
    covariance : bool
        Whether to sum outer products too.

    Returns
    -------
    CorpusSums
        Sums by speaker group, emotion and segment. A row whose segment has no
        frames counts nowhere in it.
    """
    groups, num_groups = _speaker_groups(rows.clusters)
    emotions = rows.labels % (len(EMOTIONS) + 1)  # -1 becomes the fifth
    cells = groups * (len(EMOTIONS) + 1) + emotions
    sums = CorpusSums({})
    for indices, name, values in _stream(rows):
        if name not in sums.segments:
            empty = SegmentSums.zeros(num_groups, values.shape[1:])
            sums.segments[name] = empty
        sums.segments[name].add(cells[indices], values)
        if covariance and name == "utterance":
            if sums.products is None:
                _, layers, dim = values.shape
                shape = len(EMOTIONS) + 1, layers, dim, dim
                sums.products = np.zeros(shape)
            _add_products(sums.products, emotions[indices], values)
    return sums


def _speaker_groups(clusters: Sequence[str]) -> tuple[torch.Tensor, int]:
    """Group of each row, and their number."""
    names = np.random.default_rng(0).permutation(sorted(set(clusters)))
    group = {str(name): n % GROUPS for n, name in enumerate(names)}
    return torch.tensor([group[c] for c in clusters]), min(len(names), GROUPS)


def _stream(
    rows: DomainRows,
) -> Iterator[tuple[torch.Tensor, str, torch.Tensor]]:
    """Give rows n, a segment that they have, and its values (n, L, D)."""
    for start in range(0, len(rows), READ_AT_ONCE):
        indices = torch.arange(start, min(start + READ_AT_ONCE, len(rows)))
        for stored in ("utterance", *PHONE_SEGMENTS):
            values, frames = rows.features.gather(
                stored, indices.tolist(), None
            )
            names = [stored]
            if stored == "vowel_classes":
                names = VOWELS
            else:
                values, frames = values[:, None], frames[:, None]
            for k, name in enumerate(names):
                has = frames[:, k] > 0
                if has.any():
                    yield indices[has], name, values[has, k].double()


def _add_products(
    products: np.ndarray, emotions: torch.Tensor, values: torch.Tensor
) -> None:
    """Add the outer products of values (n, L, D) to (5, L, D, D)."""
    for emotion, total in enumerate(torch.from_numpy(products)):
        x = values[emotions == emotion]
        total.baddbmm_(x.permute(1, 2, 0), x.permute(1, 0, 2))


def similarity_rows(
    source: CorpusSums, target: CorpusSums, measures: Sequence[str]
) -> list[dict]:
    """Similarity of two corpora by segment, measure, emotion and layer.

    ``centroid`` is the cosine of the two centroids. ``pairwise`` is the mean
    cosine over all pairs of a source and a target row, which is the dot
    product of the mean unit vectors. ``centred`` is the cosine of emotion
    centroids minus their own corpus's mean over all its rows. ``covariance``
    is <C_s, C_t> / (|C_s| |C_t|) with Frobenius products, of utterances only;
    ``covariance_standardised`` the same after each dimension is divided by
    its standard deviation over all rows of its own corpus.

    The first three have 95 % intervals, and references: ``:within_source``
    and ``:within_target`` between halves of one corpus's speaker groups (the
    ceiling; the mean of 20 splits), ``:mismatched`` between a source emotion
    and the target's others, and ``:without_top3`` (not for pairwise) without
    the three dimensions that hold the most of the squared pooled centroids.

    Arguments
    ---------
    source, target : CorpusSums
        Of the same encoder.
    measures : Sequence[str]
        Some of `MEASURES`.

    Returns
    -------
    list[dict]
        With the keys `COLUMNS`. Layers count from 1; ``low`` and ``high`` are
        None without an interval; ``n_source`` and ``n_target`` are the rows
        of that emotion and segment in each corpus, whatever the measure. What
        is not defined has no row: an emotion without rows, ``centred`` or
        ``:mismatched`` of ``all``, halves of one group.

    Raises
    ------
    UserError
        An unknown measure, or ``centred`` for a corpus without labels.
    """
    for measure in measures:
        _check_measure(source, target, measure)
    rows = []
    for segment in SEGMENTS:
        if segment not in source.segments or segment not in target.segments:
            continue
        s, t = source.segments[segment], target.segments[segment]
        counts = np.stack([_pooled(_whole(p), p.counts)[0] for p in (s, t)])
        for measure in measures:
            if measure in MEAN_MEASURES:
                found = _with_references(s, t, measure)
            elif segment == "utterance":
                found = {measure: (_of_covariances(source, target, measure),)}
            else:
                found = {}
            for name, curves in found.items():
                rows += _table(segment, name, curves, counts)
    return rows


def _table(
    segment: str,
    measure: str,
    curves: Sequence[np.ndarray],
    counts: np.ndarray,
) -> Iterator[dict]:
    """Rows of (5, L) values, and lows and highs if there are any."""
    value, low, high = (*curves, None, None)[:3]
    for e, emotion in enumerate((*EMOTIONS, ALL)):
        for layer in range(value.shape[1]):
            if not np.isnan(value[e, layer]):
                yield {
                    "layer": layer + 1,
                    "emotion": emotion,
                    "segment": segment,
                    "measure": measure,
                    "value": float(value[e, layer]),
                    "low": _limit(low, e, layer),
                    "high": _limit(high, e, layer),
                    "n_source": int(counts[0, e]),
                    "n_target": int(counts[1, e]),
                }


def _limit(curve: np.ndarray | None, e: int, layer: int) -> float | None:
    if curve is None or np.isnan(curve[e, layer]):
        return None
    return float(curve[e, layer])


def write_similarity(path: Path, rows: Sequence[Mapping]) -> None:
    """Write similarity.csv.

    Arguments
    ---------
    path : Path
        The file.
    rows : Sequence[Mapping]
        As from `similarity_rows`; numbers get six digits, None an empty cell.

    Raises
    ------
    UserError
        It cannot be written.
    """
    with (
        whole_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    k: f"{v:.6f}" if isinstance(v, float) else v
                    for k, v in row.items()
                }
            )


def read_similarity(path: Path) -> list[dict]:
    """Read what `write_similarity` wrote.

    Arguments
    ---------
    path : Path
        The file.

    Returns
    -------
    list[dict]
        As from `similarity_rows`, with six digits.
    """
    kinds = {"value": float, "low": float, "high": float}
    kinds |= dict.fromkeys(("layer", "n_source", "n_target"), int)
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {k: kinds.get(k, str)(v) if v else None for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def select_layers(
    source: CorpusSums,
    target: CorpusSums,
    measure: str,
    use_target_labels: bool,
    resamples: int = 200,
    seed: int = 0,
) -> dict:
    """Rank the layers by the similarity of whole utterances.

    Arguments
    ---------
    source, target : CorpusSums
        Of the same encoder.
    measure : str
        One of `MEASURES`.
    use_target_labels : bool
        True averages the measure over the emotions that both corpora have, as
        the paper does; False takes all rows at once and needs no label.
    resamples : int
        Bootstrap resamples of the speaker groups of both corpora.
    seed : int
        Decides the resamples.

    Returns
    -------
    dict
        ``group`` (the three most similar layers), ``best`` (the first of
        them) and ``worst`` (the three least similar), ties to the lower
        layer; ``scores`` by layer; ``stability``: the share of resamples with
        the same group, best and worst, and by layer the share with it in the
        group; None for covariances, and with fewer than two speaker groups.
        Also ``measure``, ``use_target_labels``, the rows ``n_source`` and
        ``n_target``, and the speaker groups ``groups_source`` and
        ``groups_target``. JSON can hold it.

    Raises
    ------
    UserError
        An unknown measure, labels that are needed but missing, or layers
        whose similarity is not defined.
    """
    _check_selection(source, target, measure, use_target_labels)
    emotions = slice(4) if use_target_labels else slice(4, 5)
    scores = _scores(source, target, measure, emotions)
    if np.isnan(scores).any():
        raise UserError(
            f"similarity: {measure} is not defined for all layers: the two "
            "corpora share too few rows or emotions."
        )
    ranked = _ranked(scores)
    corpora = source, target
    stability = None
    if measure in MEAN_MEASURES and min(c.num_groups for c in corpora) > 1:
        weights = _resampled(corpora, resamples, seed)
        again = _scores(source, target, measure, emotions, weights)
        stability = _stability(ranked, again)
    used = [
        int(_pooled(_whole(p), p.counts)[0, emotions].sum())
        for p in (source.utterances, target.utterances)
    ]
    return {
        "measure": measure,
        "use_target_labels": use_target_labels,
        **{name: layers[0].tolist() for name, layers in ranked.items()},
        "scores": _by_layer(scores[0]),
        "stability": stability,
        "n_source": used[0],
        "n_target": used[1],
        "groups_source": source.num_groups,
        "groups_target": target.num_groups,
    }


def random_layers(seed: int, num_layers: int, count: int = 3) -> list[int]:
    """Draw layers to anchor at random.

    Arguments
    ---------
    seed : int
        Decides the draw.
    num_layers : int
        Number of layers L of the encoder.
    count : int
        How many to draw.

    Returns
    -------
    list[int]
        Different layers from 1 to L, in order.

    Example
    -------
    >>> random_layers(0, num_layers=3)
    [1, 2, 3]
    """
    drawn = np.random.default_rng(seed).choice(num_layers, count, replace=False)
    return sorted((drawn + 1).tolist())


def _check_measure(
    source: CorpusSums, target: CorpusSums, measure: str
) -> None:
    check_choice("similarity", measure, MEASURES)
    if measure == "centred":
        _check_labels(source, target, "similarity: centred")
    if measure in COVARIANCE_MEASURES and (
        source.products is None or target.products is None
    ):
        raise ValueError("The sums were made without covariance=True.")


def _check_selection(
    source: CorpusSums,
    target: CorpusSums,
    measure: str,
    use_target_labels: bool,
) -> None:
    _check_measure(source, target, measure)
    if use_target_labels:
        _check_labels(source, target, "use_target_labels: true")
    elif measure == "centred":
        raise UserError(
            "similarity: centred compares emotions, which needs "
            "use_target_labels: true; use another measure without labels."
        )


def _check_labels(source: CorpusSums, target: CorpusSums, key: str) -> None:
    for name, corpus in (("source", source), ("target", target)):
        if not corpus.utterances.counts[:, : len(EMOTIONS)].any():
            raise UserError(
                f"{key} needs emotion labels, but the {name} has none; use "
                "use_target_labels: false and another measure than centred."
            )


def _whole(part: SegmentSums) -> np.ndarray:
    """Give each group the weight 1: (1, G)."""
    return np.ones((1, len(part.counts)))


def _pooled(weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Weigh and add the groups, (R, G) and (G, 5, ...) to (R, 5, ...).

    The fifth emotion becomes the sum over all five.
    """
    total = np.tensordot(weights, sums, 1)
    total[:, -1] = total.sum(axis=1)
    return total


def _vectors(
    part: SegmentSums, measure: str, weights: np.ndarray | None = None
) -> np.ndarray:
    """Vectors that a measure compares, under R weightings of the groups.

    Arguments
    ---------
    part : SegmentSums
        Of one corpus.
    measure : str
        One of `MEAN_MEASURES`.
    weights : np.ndarray, optional
        (R, G): 0 leaves a group out, 2 counts it twice; once each by default.

    Returns
    -------
    np.ndarray
        (R, 5, L, D) for the four emotions and all; nan where undefined.
    """
    weights = _whole(part) if weights is None else weights
    sums = part.units if measure == "pairwise" else part.vectors
    counts = _pooled(weights, part.counts)[..., None, None]
    means = _ratio(_pooled(weights, sums), counts)
    if measure == "centred":
        means -= means[:, -1:].copy()
        means[:, -1] = np.nan
    return means


def _alike(measure: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare (..., D) with (..., D): (...), nan where undefined."""
    product = _dot(a, b)
    if measure == "pairwise":
        return product
    return _ratio(product, np.sqrt(_dot(a, a) * _dot(b, b)))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...d,...d->...", a, b)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divide; 0 / 0 is nan, as what is not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(a, b)


def _mean_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over what is not nan; nan where nothing is."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis), defined.sum(axis))


def _with_references(
    source: SegmentSums, target: SegmentSums, measure: str
) -> dict[str, tuple[np.ndarray, ...]]:
    """Curves (5, L) of a measure and its references, by name.

    The measure itself comes with its low and high.
    """
    s, t = _vectors(source, measure), _vectors(target, measure)
    value = _alike(measure, s, t)[0]
    found = {
        measure: (value, *_interval(source, target, measure, value)),
        f"{measure}:within_source": (_within(source, measure),),
        f"{measure}:within_target": (_within(target, measure),),
        f"{measure}:mismatched": (_mismatched(measure, s[0], t[0]),),
    }
    if measure != "pairwise":
        kept = _without_top(source, target)
        found[f"{measure}:without_top3"] = (
            _alike(measure, s[0] * kept, t[0] * kept),
        )
    return found


def _interval(
    source: SegmentSums, target: SegmentSums, measure: str, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high (5, L), nan with fewer than two groups in a corpus.

    As `lam_sb.evaluation.metrics.interval`: SE^2 is the sum of both corpora's
    delete-one-group jackknives, with Student's t and Satterthwaite's degrees
    of freedom (sum v)^2 / sum(v^2 / df).
    """
    terms = []
    for part, other in ((source, target), (target, source)):
        weights = 1 - np.eye(len(part.counts))
        deleted = _alike(
            measure, _vectors(part, measure, weights), _vectors(other, measure)
        )
        terms.append(_jackknife(deleted, _counting(part, measure)))
    variance = sum(v for v, _ in terms)
    weight = sum(_ratio(v**2, df) for v, df in terms)
    df = np.where(weight > 0, _ratio(variance**2, weight), np.inf)
    margin = stats.t.ppf((1 + CONFIDENCE) / 2, df) * np.sqrt(variance)
    return np.clip(value - margin, -1, 1), np.clip(value + margin, -1, 1)


def _counting(part: SegmentSums, measure: str) -> np.ndarray:
    """Say which groups (G, 5) bear on each emotion and all."""
    counts = part.counts.copy()
    counts[:, -1] = counts.sum(axis=1)
    if measure == "centred":  # through the corpus's mean all of them do
        counts[:] = counts[:, -1:]
    return counts > 0


def _jackknife(
    deleted: np.ndarray, counting: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variance (5, L) and degrees of freedom (5, 1), Efron & Tibshirani 1993.

    Arguments
    ---------
    deleted : np.ndarray
        (G, 5, L) values without each group.
    counting : np.ndarray
        (G, 5) bool, groups that count.

    Returns
    -------
    tuple[np.ndarray, np.ndarray]
        (K - 1) / K sum_k (theta_(-k) - mean theta_(.))^2, and K - 1.
    """
    num = counting.sum(axis=0)[:, None]
    counting = counting[..., None]
    mean = _ratio(np.where(counting, deleted, 0).sum(axis=0), num)
    squares = np.where(counting, np.square(deleted - mean), 0).sum(axis=0)
    return (num - 1) * _ratio(squares, num), num - 1


def _within(part: SegmentSums, measure: str) -> np.ndarray:
    """Compare halves of one corpus: (5, L).

    Each half is a corpus of its own, with its own mean for ``centred``.
    """
    num_groups = len(part.counts)
    first = np.arange(num_groups) < num_groups // 2
    generator = np.random.default_rng(0)
    halves = np.stack([generator.permutation(first) for _ in range(SPLITS)])
    a, b = (_vectors(part, measure, w.astype(float)) for w in (halves, ~halves))
    return _mean_defined(_alike(measure, a, b), axis=0)


def _mismatched(measure: str, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Compare each emotion with the other three: (5, L), nan for all."""
    pairs = _alike(measure, s[:, None], t[None])
    pairs[np.diag_indices(len(s))] = np.nan
    pairs[-1], pairs[:, -1] = np.nan, np.nan
    return _mean_defined(pairs, axis=1)


def _without_top(source: SegmentSums, target: SegmentSums) -> np.ndarray:
    """Mask (L, D) of all but each layer's three strongest dimensions."""
    pooled = [_vectors(part, "centroid")[0, -1] for part in (source, target)]
    order = np.argsort(-np.square(pooled).sum(axis=0), axis=1, kind="stable")
    kept = np.ones(order.shape)
    np.put_along_axis(kept, order[:, :TOP_DIMENSIONS], 0, axis=1)
    return kept


def _of_covariances(
    source: CorpusSums, target: CorpusSums, measure: str
) -> np.ndarray:
    """Cosine of the two covariances: (5, L), nan where one of them is 0."""
    standardised = measure == "covariance_standardised"
    curves = []
    for layer in range(source.products.shape[1]):
        s, t = (
            _covariances(corpus, layer, standardised).reshape(5, -1)
            for corpus in (source, target)
        )
        curves.append(_alike(measure, s, t))
    return np.stack(curves, axis=1)


def _covariances(
    corpus: CorpusSums, layer: int, standardised: bool
) -> np.ndarray:
    """Covariances (5, D, D) of one layer, of the four emotions and all."""
    part = corpus.utterances
    counts = _pooled(_whole(part), part.counts)[0, :, None]
    means = _ratio(_pooled(_whole(part), part.vectors[:, :, layer])[0], counts)
    squares = _pooled(np.ones((1, 1)), corpus.products[None, :, layer])[0]
    covariances = _ratio(squares, counts[..., None])
    covariances -= means[:, :, None] * means[:, None]
    if standardised:
        std = np.sqrt(np.diag(covariances[-1]).clip(min=0))
        # As in lam_sb.training.data: a dimension that does not vary stays.
        std[std <= 1e-6 * np.abs(means[-1]) + 1e-12] = 1
        covariances /= std[:, None] * std
    return covariances


def _ranked(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Layers (R, n) of each selection, by scores (R, L)."""
    down = np.argsort(-scores, axis=1, kind="stable") + 1
    up = np.argsort(scores, axis=1, kind="stable") + 1
    return {
        "group": np.sort(down[:, :TOP_LAYERS]),
        "best": down[:, :1],
        "worst": np.sort(up[:, :TOP_LAYERS]),
    }


def _scores(
    source: CorpusSums,
    target: CorpusSums,
    measure: str,
    emotions: slice,
    weights: Sequence[np.ndarray | None] = (None, None),
) -> np.ndarray:
    """Mean similarity over emotions: (R, L), as for `_vectors`."""
    if measure in COVARIANCE_MEASURES:
        alike = _of_covariances(source, target, measure)[None]
    else:
        parts = source.utterances, target.utterances
        alike = _alike(
            measure, *map(_vectors, parts, (measure, measure), weights)
        )
    return _mean_defined(alike[:, emotions], axis=1)


def _resampled(
    corpora: Sequence[CorpusSums], resamples: int, seed: int
) -> list[np.ndarray]:
    """Draw how often each group counts: (R, G) for each corpus."""
    generator = np.random.default_rng(seed)
    sizes = [corpus.num_groups for corpus in corpora]
    return [
        generator.multinomial(n, np.full(n, 1 / n), resamples).astype(float)
        for n in sizes
    ]


def _stability(ranked: Mapping[str, np.ndarray], scores: np.ndarray) -> dict:
    """Shares of the resamples (R, L) that agree with what was selected.

    Those without any emotion that both corpora have are left out.
    """
    scores = scores[~np.isnan(scores).any(axis=1)]
    again = _ranked(scores)
    shares = {
        name: float((again[name] == layers).all(axis=1).mean())
        for name, layers in ranked.items()
    }
    layers = np.arange(1, scores.shape[1] + 1)
    in_group = (again["group"][..., None] == layers).any(axis=1)
    return {**shares, "layers": _by_layer(in_group.mean(axis=0))}


def _by_layer(values: np.ndarray) -> dict[str, float]:
    return {str(n): float(v) for n, v in enumerate(values, start=1)}
