"""Audio files as windows: which there are, and where they are cut."""

from __future__ import annotations

import itertools
import os

import pytest
from conftest import RATE, write_wav

from lam_sb.inference.windows import find_files, list_windows, windows_of


def test_windows_are_equal_and_of_4_to_8_seconds():
    for duration in (0.5, 7.99, 8.0, 8.01, 16.0, 100.0, 3600.1):
        windows = windows_of(duration)
        assert windows[0][0] == 0
        assert windows[-1][1] == pytest.approx(duration)
        lengths = [end - start for start, end in windows]
        assert max(lengths) <= 8 + 1e-6
        assert max(lengths) - min(lengths) < 1e-6
        assert len(windows) == 1 or min(lengths) >= 4
        assert all(a[1] == b[0] for a, b in itertools.pairwise(windows))


def test_what_is_no_file_has_no_windows(tmp_path):
    write_wav(tmp_path / "a.wav", 1, 9 * RATE)
    os.mkfifo(tmp_path / "pipe.wav")
    files = [str(tmp_path / name) for name in ("a.wav", "pipe.wav", "gone.wav")]
    windows, unusable = list_windows(files)
    assert [row["window"] for _, row in windows] == [(0, 4.5), (4.5, 9.0)]
    assert unusable == dict.fromkeys(files[1:], "cannot be read: it is no file")


def test_links_in_a_circle_are_walked_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_wav(tmp_path / name / "x.wav", 1)
    (tmp_path / "a/again").symlink_to(tmp_path)
    (tmp_path / "b/other").symlink_to(tmp_path / "a")
    found = find_files([str(tmp_path)])
    assert found == [str(tmp_path / "a/x.wav"), str(tmp_path / "b/x.wav")]
