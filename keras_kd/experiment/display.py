"""A finished experiment in a notebook: its verdict, table and picture."""

import base64
import html

from keras_kd._common.terminal import printable

# What an experiment draws into its folder, and what that shows.
_PICTURES = {
    "picture.png": "Learning curves, and what the teacher says of three test examples",
    "heat_map.png": "The grid of the sweep on validation examples",
    "search.png": "The trials of the search on validation examples",
    "export.png": "Accuracy of the exported files over their size",
}


def html_of(sentence, table, folder):
    """Return what a notebook shows, as HTML that needs no other file.

    Args:
        sentence: the verdict.
        table: a `Table`.
        folder: the `Path` where the experiment is written, `None` if it is kept nowhere.
    """
    shown = f"<p><b>{html.escape(printable(sentence))}</b></p>{table.as_html()}"
    if folder is None:
        return shown
    pictures = [
        f'<img style="max-width: 100%" alt="{html.escape(alt)}" '
        f'src="data:image/png;base64,{base64.b64encode((folder / name).read_bytes()).decode()}">'
        for name, alt in _PICTURES.items()
        if (folder / name).is_file()
    ]
    place = f"<p>Written to <code>{html.escape(printable(folder))}</code></p>"
    return "".join([shown, *pictures, place])
