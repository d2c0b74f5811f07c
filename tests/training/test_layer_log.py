"""What is measured of each layer, and when it is warned of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lam_sb.training.layer_log import measure_layers, warn_of_silent_layers


def test_shares_weigh_variance_with_alpha_squared():
    z = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))
    z[:, 1] *= 2
    alpha = torch.tensor([0.75, 0.25])
    logged = measure_layers([(z, z)], alpha, [4, 7], "frobenius")
    traces = [np.trace(np.cov(z[:, n].numpy().T)) for n in range(2)]
    parts = [0.75**2 * traces[0], 0.25**2 * traces[1]]
    assert [row["layer"] for row in logged] == [4, 7]
    for row, part in zip(logged, parts, strict=True):
        assert row["share"] == pytest.approx(part / sum(parts), rel=1e-5)


def test_equal_domains_are_as_far_apart_as_halves_of_one():
    """A floor of fewer rows than the distance would lie above it."""
    generator = torch.Generator().manual_seed(0)
    alpha, ratios = torch.ones(1), []
    for _ in range(20):
        source, target = torch.randn(2, 60, 1, 12, generator=generator)
        target = torch.cat([target, target[:20]])
        (row,) = measure_layers([(source, target)], alpha, [1], "per_dim")
        ratios.append(row["coral"] / row["floor"])
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_each_silent_layer_is_warned_of(caplog):
    """One of three, its share; or all of them, their traces."""

    def layers(shares, traces):
        return [
            {"layer": n, "share": s, "trace_source": t, "trace_target": t}
            for n, (s, t) in enumerate(zip(shares, traces, strict=True), 1)
        ]

    first = layers([0.3, 0.3, 0.4], [9, 9, 9])
    one = layers([0.5, 0.05, 0.45], [9, 9, 9])
    assert warn_of_silent_layers(first, one, [1, 2])
    assert (
        "layer 2: share of the pooled variance from 0.3 to 0.05"
        in (caplog.messages[-1])
    )
    assert not warn_of_silent_layers(first, one, [1, 3])  # not anchored
    assert warn_of_silent_layers(first, layers([0.3, 0.3, 0.4], [1] * 3), [3])
    assert "layer 3: trace from 18 to 2" in caplog.messages[-1]
    assert not warn_of_silent_layers(first, layers([0.3] * 3, [2] * 3), [1, 2])
