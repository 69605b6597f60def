"""Notebooks are committed without outputs and run from top to bottom."""

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))

# What a cell tagged `parameters` is replaced by, so that a run takes seconds.
QUICK = {
    "1_quickstart": "epochs, seed = 1, 0",
    "2_losses": "epochs, seed = 1, 0",
    "3_temperature_and_alpha": "epochs, patience, seed = 1, 1, 0",
    "4_to_the_phone": "epochs, seed, formats = 1, 0, ['float32', 'int8']",
    "5_your_own_data": "epochs, seed = 2, 0",
    "6_adversarial": "epochs, seed = 1, 0",
}


def test_every_notebook_has_a_quick_form():
    assert {path.stem for path in NOTEBOOKS} == set(QUICK)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.slow
# Jupyter's own, on starting a kernel.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_draws(path, tmp_path, fashion_mnist):
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source = QUICK[path.stem]
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [(cell, output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for _, output in outputs) >= 3
    for cell, output in outputs:
        # TensorFlow greets when it is imported, whatever is set; nothing else may complain.
        assert output.get("name") != "stderr" or "import keras" in cell.source, output["text"]
