"""The systems that tables show: their names, families and order."""

from __future__ import annotations

from collections.abc import Mapping

REFERENCE = "lam_gl"  # what all others are compared with
BASELINES = {
    "cc": "CC",
    "best_layer": "Best-Layer",
    "ensemble": "Ensemble",
    "few_shot": "Few-shot",
    "few_shot_0": "Few-shot, no target label",
    "pc": "PC",
    "pc_avg": "PC-Avg",
    "pc_atn": "PC-Atn",
}
ABLATIONS = {
    "lam_al": "LAM-AL",
    "lam_bl": "LAM-BL",
    "lam_wl": "LAM-WL",
    "lam_rl1": "LAM-RL1",
    "lam_rl2": "LAM-RL2",
    "lam_rl3": "LAM-RL3",
}
PLUS = {
    "lam_plus": "LAM-Plus",
    "lam_plus_one": "LAM-Plus, one seed",
    "lam_plus_no_mcc": "LAM-Plus, one seed, no confusion loss",
    "lam_plus_speaker": "LAM-Plus, one seed, speaker means",
    "lam_plus_domain": "LAM-Plus, one seed, no speaker means",
}
CONTROLS = {"layer_atn": "Layer-Atn", "layer_drop": "Layer-Drop"}
SEGMENTS = {
    "lam_gl_vowl": "LAM-GL, vowels",
    "lam_gl_cons": "LAM-GL, consonants",
}
BOUNDS = {"within": "Layer-Atn, within", "oracle": "Layer-Atn, oracle"}
# In the order of the tables' rows.
FAMILIES = {
    "baselines": BASELINES,
    "reference": {REFERENCE: "LAM-GL"},
    "ablations": ABLATIONS,
    "plus": PLUS,
    "controls": CONTROLS,
    "segments": SEGMENTS,
    "bounds": BOUNDS,
    "others": {},
}
NAMES = {
    system: name
    for members in FAMILIES.values()
    for system, name in members.items()
}


def name_of(system: str) -> str:
    """Name a row as tables do.

    Example
    -------
    >>> name_of("lam_gl"), name_of("lam_gl (again)"), name_of("mine")
    ('LAM-GL', 'LAM-GL (again)', 'mine')
    """
    first, space, rest = system.partition(" ")
    return NAMES.get(first, first) + space + rest


def family_of(system: str) -> str:
    """Tell the family of a row: p-values are corrected within one.

    Example
    -------
    >>> family_of("cc"), family_of("cc_within"), family_of("mine")
    ('baselines', 'bounds', 'others')
    """
    for family, members in FAMILIES.items():
        if system in members:
            return family
    # Of any system, and of a second experiment: cc_within, within (again).
    last = system.split(" ")[0].split("_")[-1]
    return "bounds" if last in BOUNDS else "others"


def row_of(results: Mapping) -> str:
    """Tell the row of a run: another use of target labels is another row.

    Arguments
    ---------
    results : Mapping
        What results.json holds.

    Returns
    -------
    str
        A key of `NAMES`, a system with its bound, or a user's own system.

    Example
    -------
    >>> row_of({"system": "few_shot", "shots": 0, "bound": "none"})
    'few_shot_0'
    >>> row_of({"system": "cc", "bound": "oracle"})
    'cc_oracle'
    """
    system, bound = results["system"], results.get("bound", "none")
    if bound != "none" and system not in BOUNDS:
        return bound if system == "layer_atn" else f"{system}_{bound}"
    if system == "few_shot" and not results["shots"]:
        return "few_shot_0"
    return system


def position_of(system: str) -> int:
    """Place of a row in a table; those of the user's own come last."""
    return list(NAMES).index(system) if system in NAMES else len(NAMES)
