"""README and docs: links, keys, the picture, the citation."""

from __future__ import annotations

import json
import re
import runpy

import pytest
import yaml
from conftest import HPARAMS, ROOT
from doc_pages import PAGES, anchors, blocks, commands, prose

from lam_sb.__main__ import COMMANDS, USAGE
from lam_sb.config import check, key_blocks
from lam_sb.corpora.manifests import EMOTIONS, read_manifest
from lam_sb.run_options import RUN_OPTIONS
from lam_sb.values import CHOICES

DOCS = ROOT / "docs"
RECIPE = ROOT / "recipes/MSP-BIIC-Podcast/cross_lingual_ser/README.md"
CARD = DOCS / "demo_model/README.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", [*PAGES, RECIPE, CARD], ids=str)
def test_each_link_leads_somewhere(page):
    for link in LINK.findall(prose(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        if anchor:
            assert anchor in anchors(there), link


def test_the_readme_is_short_and_leads_to_all_pages():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    for page in [*DOCS.glob("*.md"), *DOCS.glob("*.ipynb")]:
        assert f"(docs/{page.name}" in text, page.name


def test_every_key_is_listed_as_the_files_explain_it():
    made = runpy.run_path(str(DOCS / "make_keys.py"))["make"]()
    text = (DOCS / "keys.md").read_text(encoding="utf-8")
    assert text == made, "run python docs/make_keys.py"
    for file in ("lam_gl_wavlm.yaml", "study/table2.yaml"):
        for key in key_blocks(HPARAMS / file, {}).keys() - {"__set_seed"}:
            assert f"`{key}`" in text, key
    row = next(x for x in text.splitlines() if x.startswith("| `gamma` |"))
    assert row == (
        "| `gamma` | `0.5` | a number, 0 or more | Weight of the alignment "
        "loss, equation 4 [P]. |"
    )
    for choice in CHOICES["normalise"]:
        assert f"`{choice}`" in text


def test_the_picture_is_what_its_script_draws(tmp_path, monkeypatch):
    script = runpy.run_path(str(DOCS / "draw_method.py"))
    path = tmp_path / "method.svg"
    monkeypatch.setitem(script["draw"].__globals__, "PATH", path)
    script["draw"]()
    texts = re.compile(r"<text[^>]*>([^<]*)<|<tspan[^>]*>([^<]*)<")
    drawn, there = (
        [*map(max, texts.findall(p.read_text(encoding="utf-8")))]
        for p in (path, DOCS / "method.svg")
    )
    assert drawn == there
    assert there.count("layer 3, anchored") == 2
    assert "CORAL: equal covariances" in there


def test_a_file_as_in_the_docs_is_taken(tmp_path):
    (text,) = blocks(DOCS / "usage.md", "yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("base: ", f"base: {HPARAMS}/"))
    check(path, {"data_folder": "/corpora"})
    assert "my_hubert" in key_blocks(path, {})["experiment"]
    assert yaml.safe_load(text)["anchor_layers"] == [4, 5, 6]


def test_a_manifest_as_in_the_docs_is_read(tmp_path):
    (text,) = blocks(DOCS / "corpora.md", "json")
    path = tmp_path / "train.json"
    path.write_text(f"{{{text}}}", encoding="utf-8")
    rows = read_manifest(path, "/corpora/msp_podcast")
    (row,) = rows.values()
    assert row["emo"] in EMOTIONS
    assert row["wav"].startswith("/corpora/msp_podcast/Audios/")
    assert json.loads(path.read_text(encoding="utf-8")).keys() == rows.keys()


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert f'version="{citation["version"]}"' in setup
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {citation['version']}" in changes
    urls = [reference["url"] for reference in citation["references"]]
    assert "https://arxiv.org/abs/2407.04966" in urls


# Of pip, pytest, torchrun, SLURM, hf and others.
OTHERS_OPTIONS = {
    *("dist", "no-loadscope-reorder", "nproc_per_node", "nnodes", "rdzv_id"),
    *("rdzv_backend", "rdzv_endpoint", "gres", "cpus-per-task", "mem", "time"),
    *("requeue", "array", "signal", "nodes", "ntasks-per-node", "check"),
    "gpus-per-node",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_option_and_command_that_a_page_names_is_one(page):
    text = page.read_text(encoding="utf-8")
    keys = key_blocks(HPARAMS / "lam_gl_wavlm.yaml", {}).keys()
    study = key_blocks(HPARAMS / "study/tune.yaml", {}).keys()
    usages = "".join(
        [USAGE, *(help_text for _, help_text in COMMANDS.values())]
    )
    known = {*keys, *study, *RUN_OPTIONS, *re.findall(r"--([\w-]+)", usages)}
    known |= {*key_blocks(HPARAMS / "study/table2.yaml", {}), "grid", "help"}
    named = set(re.findall(r"(?<![\w-])--(\w[\w-]*)", text))
    assert named - known - OTHERS_OPTIONS == set()
    for command in re.findall(r"python -m lam_sb (\w+)", text):
        assert command in COMMANDS
    for command in commands(page):
        if command.startswith("python -m pytest"):
            assert command in (ROOT / ".ci/run").read_text()
        if command.startswith("python train.py hparams/demo"):
            assert command == "python train.py hparams/demo.yaml"
