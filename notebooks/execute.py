"""Execute the notebooks and write them back as they are committed: with outputs, light, and stable.

    make notebooks                                  # all, one after another
    python notebooks/execute.py notebooks/7_*.ipynb # one

What would differ at the next execution for no reason is left out: times, versions, TensorFlow's
greeting. Pictures become palettes, with the cell's `alt` as their text. The picture of the cell
tagged `cover` is also written to `docs/pictures/`.
"""

import argparse
import base64
import io
import os
import re
import tempfile
import time
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

FOLDER = Path(__file__).parent
COVERS = FOLDER.parent / "docs" / "pictures"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT = ("alt", "tags")
COLOURS = 128
# What Python prints of an object that says nothing of itself: its address.
ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")
# What TensorFlow says of a process in which many models were asked.
TRACING = re.compile(r"^WARNING:tensorflow:.* retracing\..*\n", flags=re.MULTILINE)


def run(notebook, folder, kernel=None):
    """Execute a notebook in a folder.

    Args:
        notebook: a notebook of `nbformat`; its outputs are replaced.
        folder: where its code writes.
        kernel: a running kernel to use, as `nbclient` takes it; its own if `None`.
    """
    options = {
        "timeout": 3600,
        "coalesce_streams": True,
        "record_timing": False,
        "kernel_name": "python3",
    }
    place = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, kernel, resources=place, **options)
    try:
        client.execute(reset_kc=False)
    finally:
        if kernel is not None:  # It goes on; what listened to it does not.
            client.kc.stop_channels()


def clean(notebook):
    """Leave nothing in a notebook that a repetition would change for no reason.

    Raises:
        ValueError: if a cell complained, or drew a picture that has no text.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = {name: cell.metadata[name] for name in KEPT if name in cell.metadata}
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_cleaned(cell), cell.outputs) if output]


def _cleaned(cell):
    def cleaned(output):
        if output.output_type == "stream":
            return _of_stream(cell, output)
        output.metadata, data = {}, output.get("data", {})
        if "image/png" in data:
            if not cell.metadata.get("alt"):
                raise ValueError(f"A picture needs a text: `alt` in its cell's metadata: {cell.id}")
            data["image/png"] = in_palette(data["image/png"])
            data["text/plain"] = cell.metadata["alt"]
            output.metadata = {"image/png": {"alt": cell.metadata["alt"]}}
        return None if ADDRESS.search(data.get("text/plain", "")) else output

    return cleaned


def _of_stream(cell, output):
    output.text = TRACING.sub("", output.text)
    # TensorFlow greets when it is imported, whatever is set; nothing else may complain.
    if output.name == "stderr" and output.text and "import keras" not in cell.source:
        raise ValueError(f"The cell {cell.id} complained: {output.text}")
    return output if output.name == "stdout" and output.text else None


def in_palette(png):
    """Return a PNG, in base64 as a notebook holds it, with few colours on white."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":
        return png
    picture = picture.convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    flat = Image.alpha_composite(paper, picture).convert("RGB")
    # So chosen that thin lines keep their hue; `MEDIANCUT` counts pixels.
    method = Image.Quantize.MAXCOVERAGE
    colours = flat.quantize(COLOURS, method, dither=Image.Dither.NONE)
    written = io.BytesIO()
    colours.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def write_cover(path, notebook):
    """Write the picture of the cell tagged `cover` beside the documents."""
    (cell,) = (cell for cell in notebook.cells if "cover" in cell.metadata.get("tags", []))
    (png,) = (o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
    COVERS.mkdir(parents=True, exist_ok=True)
    (COVERS / f"notebook_{path.stem}.png").write_bytes(base64.b64decode(png))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of this folder if none")
    paths = parser.parse_args().notebooks or sorted(FOLDER.glob("*.ipynb"))
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    os.nice(10)
    for path in paths:
        notebook, start = nbformat.read(path, as_version=4), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            run(notebook, folder)
        clean(notebook)
        nbformat.write(notebook, path)
        write_cover(path, notebook)
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
