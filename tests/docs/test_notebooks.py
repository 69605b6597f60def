"""Notebooks are committed executed; a quick run of each says what must not change as they do."""

import base64
import importlib.util
import io
import re
import tomllib

import jupyter_client
import nbformat
import pytest
from helpers import ROOT
from PIL import Image

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COLAB = "https://colab.research.google.com/github/keras-kd/keras-kd/blob/main/notebooks"

# What a cell tagged `parameters` is replaced by, so that a run takes seconds.
QUICK = {
    "1_quickstart": "epochs, seed = 1, 0",
    "2_losses": "epochs, seed = 1, 0",
    "3_temperature_and_alpha": "epochs, patience, seed = 1, 1, 0",
    "4_to_the_phone": "epochs, seed, formats = 1, 0, ['float32', 'int8']",
    "5_your_own_data": "epochs, seed = 2, 0",
    "6_adversarial": "epochs, seed = 1, 0",
    "7_few_labels": "num_labels, epochs, teacher_epochs, share, seed = 500, 1, 1, 0.02, 0",
    "8_a_model_in_use": "num_files, epochs, seed = 60, 1, 0",
    # Nothing is fetched: sentences of words that no language has.
    "9_which_language": """
import gzip, json, os, pathlib, random
from keras_kd.recipes.languages import LANGUAGES

labels, epochs, seed = 63, 1, 0
others = os.environ.get("KERAS_KD_DATA", "")
os.environ["KERAS_KD_DATA"] = f"{pathlib.Path.cwd()}{os.pathsep}{others}"
drawn = random.Random(0)
words = {name: ["".join(drawn.choices("abcdefghij", k=6)) for _ in range(90)] for name in LANGUAGES}
found = {
    name: {f"page{page}": [" ".join(drawn.choices(each, k=24))] for page in range(90)}
    for name, each in words.items()
}
pathlib.Path("languages").mkdir()
text = gzip.compress(json.dumps(found).encode())
_ = pathlib.Path("languages", "sentences.json.gz").write_bytes(text)
""",
    # Nothing is fetched: squares of colours.
    "10_maps": """
import os, pathlib
import numpy as np

epochs, seed, rows, columns = 1, 0, 1, 2
others = os.environ.get("KERAS_KD_DATA", "")
os.environ["KERAS_KD_DATA"] = f"{pathlib.Path.cwd()}{os.pathsep}{others}"
pathlib.Path("edges").mkdir()
from keras_kd.recipes.edges import kept_at

drawn, found = np.random.default_rng(0), {}
for split, count in (("train", 16), ("validation", 2), ("test", 6)):
    colours = drawn.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    found[split], names = colours.repeat(32, 1).repeat(32, 2), f"{split}_names"
    found[names] = np.full(count, "made up")
np.savez(kept_at(), **found)
""",
    "11_a_small_language_model": """
import gzip, json, os, pathlib, random

num_windows, epochs, seed = 48, 1, 0
others = os.environ.get("KERAS_KD_DATA", "")
os.environ["KERAS_KD_DATA"] = f"{pathlib.Path.cwd()}{os.pathsep}{others}"
drawn = random.Random(0)
words = ["".join(drawn.choices("abcdefghij", k=5)) for _ in range(40)]
found = {f"page{page}": [" ".join(drawn.choices(words, k=60))] for page in range(60)}
pathlib.Path("languages").mkdir()
text = gzip.compress(json.dumps({"English": found}).encode())
_ = pathlib.Path("languages", "sentences.json.gz").write_bytes(text)
""",
}

# What is run before each, in a kernel that has run others: nothing that they defined is left. And
# what is trained on is short, whatever is said of the data: `batches` are those of some images.
# Data are read once for all.
FRESH = """
import functools
import keras_kd as kd
import tensorflow as tf

tf.config.optimizer.set_experimental_options({{"disable_meta_optimizer": True}})
whole = getattr(kd.data.Split.batches, "__wrapped__", kd.data.Split.batches)

@functools.wraps(whole)
def short(split, *args, whole=whole, **kwargs):
    return whole(split.take(slice(2000)), *args, **kwargs)

kd.data.Split.batches = short
if not hasattr(kd.data.load, "cache_info"):
    kd.data.load = functools.cache(kd.data.load)
%reset -f
%cd -q {folder}
%matplotlib inline
"""

_spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
execute = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(execute)


def committed(path):
    return nbformat.read(path, as_version=4)


def tags_of(cell):
    return cell.metadata.get("tags", [])


def text_of(cell):
    """What a cell prints."""
    return "".join(o.get("text", "") for o in cell.outputs)


def words(text):
    """The text without its numbers and spaces: names, headers, units."""
    return re.sub(r"[+-]?\d[\d,.]*(e-?\d+)?", "#", text).split()


def pictures(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield cell, output


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_every_notebook_has_a_quick_form():
    assert {path.stem for path in NOTEBOOKS} == set(QUICK)
    assert len(QUICK) >= 8


@each
def test_it_asks_a_question_and_can_be_opened_elsewhere(path):
    title, badge, *_ = committed(path).cells[0].source.split("\n\n")
    assert title.startswith("# ") and title.endswith("?")
    assert badge.endswith(f"({COLAB}/{path.name})")


@each
def test_its_first_cell_installs_what_there_is_to_install(path):
    first = next(cell for cell in committed(path).cells if cell.cell_type == "code")
    install = next(c for c in committed(NOTEBOOKS[0]).cells if c.cell_type == "code")
    assert first.source == install.source and "exact" in tags_of(first)
    (extras,) = re.findall(r'extras = "\[(.*)\]"', first.source)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


@each
def test_its_links_hold_in_colab_where_nothing_lies_beside_it(path):
    text = "".join(cell.source for cell in committed(path).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((.*?)\)", text)
    assert links and all(link.startswith("https://") for link in links)


@each
def test_it_is_committed_executed_in_order_with_light_pictures(path):
    notebook = committed(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, 1 + len(code)))
    for cell in code:
        assert all(output.output_type in ("stream", "display_data") for output in cell.outputs)
        assert all(output.get("name") != "stderr" for output in cell.outputs)
    assert len(list(pictures(notebook))) >= 3
    # One picture early: within the first five cells of code.
    assert any(cell in code[:5] for cell, _ in pictures(notebook))
    for cell, output in pictures(notebook):
        assert output.metadata["image/png"]["alt"] == cell.metadata["alt"]
        image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        assert image.mode == "P" and image.width <= 800
    assert path.stat().st_size < 300_000


@each
def test_it_is_committed_as_the_tool_writes_it(path):
    notebook = committed(path)
    execute.clean(notebook)
    assert nbformat.writes(notebook) + "\n" == path.read_text()


@each
def test_its_cover_is_the_picture_of_the_documents(path):
    (cell,) = (cell for cell in committed(path).cells if "cover" in tags_of(cell))
    (output,) = (o for o in cell.outputs if "image/png" in o.get("data", {}))
    written = ROOT / "docs" / "pictures" / f"notebook_{path.stem}.png"
    assert written.read_bytes() == base64.b64decode(output.data["image/png"])


def cleaned(text, name):
    output = nbformat.v4.new_output("stream", name=name, text=text)
    cell = nbformat.v4.new_code_cell("fit()", outputs=[output])
    execute.clean(nbformat.v4.new_notebook(cells=[cell]))
    return text_of(cell)


def test_what_tensorflow_says_of_many_models_is_left_out_and_other_complaints_are_errors():
    tracing = "WARNING:tensorflow:5 out of the last 13 calls to <f at 0x7f> triggered tf.function "
    tracing += "retracing. Tracing is expensive.\n"
    assert cleaned(tracing, "stderr") == ""
    assert cleaned(f"{tracing}learned\n", "stdout") == "learned\n"
    with pytest.raises(ValueError, match="complained: lost"):
        cleaned(f"{tracing}lost\n", "stderr")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for all: TensorFlow is imported once."""
    manager = jupyter_client.KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=tmp_path_factory.mktemp("kernel"))
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
# Jupyter's own, on starting a kernel.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@each
def test_it_runs_and_says_the_same(path, kernel, tmp_path, fashion_mnist):
    notebook = committed(path)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in tags_of(cell))
    parameters.source = QUICK[path.stem]
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FRESH.format(folder=tmp_path)))
    execute.run(notebook, tmp_path, kernel)
    del notebook.cells[0]
    execute.clean(notebook)  # Nothing complained, and every picture has its text.
    for was, now in zip(committed(path).cells, notebook.cells, strict=True):
        if was.cell_type != "code" or "varies" in tags_of(was):
            continue
        if "exact" in tags_of(was):
            assert text_of(now) == text_of(was) != "", was.id
        assert words(text_of(now)) == words(text_of(was)), was.id
        assert len(now.outputs) == len(was.outputs), was.id
