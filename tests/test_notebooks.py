"""The notebooks of the site run, and show what comes out."""

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def runner():
    spec = importlib.util.spec_from_file_location("run_notebooks", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(outputs):
    """Text; of figures, that there is one: fonts and versions draw them differently."""
    return [["".join(o.get("text") or o["data"]["text/plain"]) for o in cell] for cell in outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_shows(path):
    """Each cell, in one namespace, gives the text that is stored beside it."""
    matplotlib = pytest.importorskip("matplotlib")
    if path.stem == "engineer":
        pytest.importorskip("torch", reason="PyTorch is not installed: the engineer's notebook was not run")
    matplotlib.use("agg")
    code = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert said(runner().outputs_of(code)) == said(cell["outputs"] for cell in code)


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["engineer", "student", "theorist"]


def test_a_changed_number_is_noticed():
    """Control: a stored output that is not what comes out."""
    cell = {"cell_type": "code", "source": ["print('a')\n", "1 + 1"]}
    assert said(runner().outputs_of([cell])) == [["a\n", "2"]]
    assert said(runner().outputs_of([cell])) != [["a\n", "3"]]
