"""Each promise names tests that are there."""

from __future__ import annotations

import re

from conftest import ROOT

PROMISES = ROOT / "docs/promises.md"


def test_each_promise_has_its_test():
    text = PROMISES.read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 15
    for path, test in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert f"\ndef {test}" in source, f"{path}::{test}"
    held = re.split(r"\n- ", text)[1:]
    without = [p for p in held if "`tests/" not in p]
    # What is code, and where bits end, are limits, not promises.
    assert [p.split("**")[1] for p in without] == [
        "YAML is code",
        "Where bits end",
    ]
