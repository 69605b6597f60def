"""Test examples on which student and teacher differ, under the report page's temperature slider."""

import base64
import io

import numpy as np

from keras_kd import metrics
from keras_kd.experiment import blocks
from keras_kd.runs.progress import title_of

# Of an example; the other classes share one.
_MOST_BARS = 10
_PAIR = ("teacher", "student")


def section(said):
    """Return the place of the gallery, which the page's script fills with `examples`.

    Args:
        said: the `Predictions` of a seed.
    """
    if "teacher" not in said.logits:
        return ""
    title = "Where student and teacher differ"
    if not len(said.shown):
        return blocks.section(title, "<p>They predict the same class for every test example.</p>")
    return blocks.section(
        title,
        blocks.note(
            "Test examples, the widest apart first. Upper bar: teacher; lower bar: student "
            "distilled; bold: the label."
        ),
        '<div class="control"><label>temperature <input type="range" id="temperature" min="0" '
        'max="100" value="0"></label> T = <output id="shown-temperature">1.0</output></div>'
        '<div class="cards" id="cards"></div><noscript>The bars need JavaScript.</noscript>',
    )


def examples(said, class_names):
    """Return what the page's script draws, a dict for JSON."""
    # Other data than images and texts have nothing to look at.
    texts = [None] * len(said.shown) if said.texts is None else said.texts
    images = map(_png, said.images) if said.images.size else [None] * len(said.shown)
    found = []
    for index, image, text in zip(said.shown, images, texts, strict=True):
        logits = np.array([said.logits[name][index] for name in _PAIR], float)
        label = int(said.labels[index])
        found.append(
            {
                "index": int(index), "image": image, "text": text, "label": label,
                "bars": _bars(logits, label), "logits": np.round(logits, 4).tolist(),
            }
        )  # fmt: skip
    models = [{"name": name, "title": title_of(name)} for name in _PAIR]
    return {"class_names": class_names, "models": models, "examples": found}


def _bars(logits, label):
    """Return the classes that get a bar of their own: the label and the likeliest."""
    likely = np.argsort(-metrics.softmax(logits).max(axis=0), kind="stable")[:_MOST_BARS].tolist()
    return sorted(likely if label in likely else [label, *likely[:-1]])


def _png(image):
    from matplotlib.image import imsave

    file = io.BytesIO()
    if image.shape[-1] < 3:
        image = image[..., 0]
    elif image.dtype.kind == "f":
        image = image / max(1.0, image.max())
    imsave(file, image, cmap="gray_r", format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
