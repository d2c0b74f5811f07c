"""Draw method.svg, the way from speech to emotions.

python docs/draw_method.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PATH = Path(__file__).with_name("method.svg")
SOURCE, TARGET, SHARED, ANCHOR = "#2a6f97", "#c8553d", "#5c677d", "#e9c46a"
LAYERS = 6
ANCHORED = (1, 2, 3)
PITCH = 0.62  # from one layer to the next
UPPER, LOWER = 4.8, 3.1  # heights of both layers 1


def box(
    axes: Axes, x: float, y: float, size: tuple, text: str, colour: str
) -> None:
    """Draw a rounded box around its centre, with white text."""
    width, height = size
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.02,rounding_size=0.12",
            facecolor=colour,
            edgecolor="none",
        )
    )
    axes.text(x, y, text, ha="center", va="center", color="white", fontsize=10)


def arrow(axes: Axes, start: tuple, end: tuple, colour: str, **style) -> None:
    """Draw an arrow from one point to another."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle=style.pop("arrowstyle", "-|>"),
            mutation_scale=12,
            color=colour,
            linewidth=1.4,
            **style,
        )
    )


def draw_domain(
    axes: Axes, inner: float, step: float, name: str, colour: str
) -> None:
    """Draw one language's speech, and its layers to where they are mixed.

    Layer 1 lies at the height ``inner``, each further one a step outwards.
    """
    middle = inner + (LAYERS - 1) * step / 2
    box(axes, 1.2, middle, (2.1, 1.1), name, colour)
    box(axes, 3.9, middle, (1.7, 3.7), "frozen\nspeech\nencoder", SHARED)
    arrow(axes, (2.3, middle), (3.0, middle), colour)
    for layer in range(1, LAYERS + 1):
        y = inner + (layer - 1) * step
        anchored = layer in ANCHORED
        fill = ANCHOR if anchored else "#ced4da"
        axes.add_patch(
            FancyBboxPatch(
                (5.6, y - 0.2),
                1.9,
                0.4,
                boxstyle="round,pad=0.02,rounding_size=0.08",
                facecolor=fill,
                edgecolor=colour,
            )
        )
        label = f"layer {layer}" + (", anchored" if anchored else "")
        axes.text(6.55, y, label, ha="center", va="center", fontsize=8)
        arrow(axes, (4.8, y), (5.55, y), colour)
        arrow(axes, (7.55, y), (8.55, middle), colour)
    box(axes, 9.35, middle, (1.5, 1.3), "mixed by\nlearned\nweights", SHARED)


def draw() -> None:
    """Write the picture; the same bytes each time."""
    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["svg.hashsalt"] = "lam_sb"
    figure, axes = plt.subplots(figsize=(11, 6.6))
    axes.set_xlim(0, 14.2)
    axes.set_ylim(-0.7, 8.3)
    axes.axis("off")
    draw_domain(axes, UPPER, PITCH, "source speech\nwith labels", SOURCE)
    draw_domain(axes, LOWER, -PITCH, "target speech\nwithout labels", TARGET)
    upper, lower = UPPER + 2.5 * PITCH, LOWER - 2.5 * PITCH
    box(axes, 11.7, upper, (1.7, 1.3), "emotion\nclassifier", SHARED)
    box(axes, 11.7, lower, (1.7, 1.3), "emotion\nclassifier", SHARED)
    for y, colour in ((upper, SOURCE), (lower, TARGET)):
        arrow(axes, (10.15, y), (10.8, y), colour)
        arrow(axes, (12.6, y), (13.2, y), colour)
    axes.text(11.7, upper + 1.15, "cross-entropy", ha="center", fontsize=9)
    axes.text(13.3, upper, "loss", va="center", fontsize=10)
    axes.text(
        13.3, lower, "neutral\nhappy\nangry\nsad", va="center", fontsize=9
    )
    arrow(
        axes,
        (11.7, upper - 0.7),
        (11.7, lower + 0.7),
        SHARED,
        arrowstyle="-",
        linestyle=":",
    )
    axes.text(11.85, (upper + lower) / 2, "the same weights", fontsize=8)
    for layer in ANCHORED:
        offset = (layer - 1) * PITCH
        arrow(
            axes,
            (7.53, UPPER + offset),
            (7.53, LOWER - offset),
            "#b08900",
            arrowstyle="<|-|>",
            connectionstyle="arc3,rad=-0.25",
            linestyle="--",
        )
    axes.text(
        5.85,
        (UPPER + LOWER) / 2,
        "CORAL: equal covariances",
        ha="center",
        va="center",
        fontsize=9,
        color="#7a5f00",
    )
    figure.savefig(
        PATH, bbox_inches="tight", facecolor="white", metadata={"Date": None}
    )
    plt.close(figure)


if __name__ == "__main__":
    draw()
