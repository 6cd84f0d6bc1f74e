import sys
from pathlib import Path

import nbformat
import pytest
from fake_store import write_store
from nbclient import NotebookClient
from studies_for_tests import quickstart

NOTEBOOK = Path(__file__).parent.parent / "examples" / "explore.ipynb"
FAMILIES = {
    "nt_xent": {"temperature": {"low": 0.05, "high": 2.0, "levels": 3}},
    "dhel": {"temperature": {"low": 0.05, "high": 2.0, "levels": 3}},
    "kcl_gaussian": {"bandwidth": {"low": 0.25, "high": 10, "levels": 3}, "gamma": 16},
    "untrained": "default",
}


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """The notebook as it is after it ran beside a finished quickstart, and that folder."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    monkeypatch.setenv("PYTHONWARNINGS", "error::FutureWarning:__main__")
    write_store(tmp_path / "results" / "quickstart", quickstart(seeds=[0, 1, 2], families=FAMILIES))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    return notebook, tmp_path


def test_the_notebook_goes_from_a_finished_quickstart_to_a_figure(executed):
    notebook, folder = executed
    assert (folder / "robustness.pdf").read_bytes().startswith(b"%PDF")
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    shown = str(outputs)
    assert all(family in shown for family in FAMILIES)


def test_the_notebook_is_stored_without_outputs():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
