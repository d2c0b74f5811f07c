"""The house: who may import whom, how long files are."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "lam_sb").rglob("*.py"))
SOURCES = [ROOT / "train.py", *MODULES, *(ROOT / "data_prep").glob("*.py")]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_lam_sb_imports_neither_train_nor_data_prep(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        imported = []
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module or ""]
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(
            node.func
        ):
            # Also a name that is put together, f"data_prep.{name}".
            imported = [ast.unparse(argument) for argument in node.args]
        for module in imported:
            assert not re.search(r"\b(train|data_prep)\b", module)


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_no_file_is_longer_than_400_lines(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= (250 if path.name == "train.py" else 400)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_function_is_longer_than_40_lines_without_its_docstring(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body
            if ast.get_docstring(node) is not None:
                body = body[1:]
            length = node.end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 40, f"{node.name}: {length}"


def test_the_package_works_without_the_recipe(tmp_path):
    """No module needs the working folder, train.py or data_prep."""
    names = [
        name(path).removesuffix(".py").replace("/", ".")
        for path in MODULES
        if path.name not in ("__init__.py", "__main__.py")
    ]
    code = (
        f"import sys\nsys.path.append({str(tmp_path / 'package')!r})\n"
        + "".join(f"import {module}\n" for module in names)
        + "assert not {'train', 'data_prep'} & sys.modules.keys()\n"
    )
    (tmp_path / "package").mkdir()
    (tmp_path / "package/lam_sb").symlink_to(ROOT / "lam_sb")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_it_is_found_from_beside_a_clone_of_its_name(tmp_path):
    """Where a folder lam_sb without a package comes first on the path."""
    (tmp_path / "lam_sb/features").mkdir(parents=True)
    code = "import lam_sb.features.audio as a; print(a.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()) == ROOT / "lam_sb/features/audio.py"
