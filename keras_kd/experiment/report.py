"""A run for people: the closing table, what it means, and the picture."""

import textwrap

import numpy as np

from keras_kd import metrics
from keras_kd._common.files import written_whole
from keras_kd._common.looks import LOOKS, look_of
from keras_kd._common.pictures import label, labels, plain_text
from keras_kd._common.terminal import printable
from keras_kd.data.texts import decode_texts
from keras_kd.experiment.statistics import on_one_seed, sentence_of
from keras_kd.experiment.tables import closing, kilobytes, no_file
from keras_kd.runs.evaluation import pictures
from keras_kd.runs.progress import title_of

_TEMPERATURES = (1, 2, 4, 8)
# Names of more would lie on each other.
_MOST_CLASSES = 21


def table(results):
    """Return the closing table of a run's results, a `Table`."""
    title = (
        f"{results['recipe']}, seed {results['seed']}: "
        f"{results['data']['test']:,} test examples, read once"
    )
    return closing(title, results["models"], files=True)


def sentences(results, folder):
    """Return what the table means and where everything is, a line each."""
    models = [f"{name}.keras" for name, model in results["models"].items() if model.get("bytes")]
    files = ", ".join(models)
    exported = "student_savedmodel/, student.tflite, " if "litert" in results else ""
    return [
        verdict(results["gain"], quick=results.get("quick", False)),
        _on_file(results),
        f"Written to {folder} in {results['seconds']:.0f} s: {files}, {exported}"
        "picture.png, results.json",
    ]


def _on_file(results):
    """Return one sentence on the file for a phone, or why there is none."""
    if refusal := no_file(results):
        return refusal
    litert = results["litert"]
    return (
        f"student.tflite ({kilobytes(litert['bytes'])}), executed by LiteRT on all "
        f"{litert['images']:,} test examples: accuracy {litert['accuracy']:.4f}, agrees with the "
        f"Keras student on {100 * litert['agreement_with_keras']:.2f} %, "
        f"{litert['microseconds_per_image']:.1f} microseconds each on one thread"
    )


def verdict(gain, *, quick=False):
    """Return one plain sentence on the gain of the distilled student over the one alone."""
    return sentence_of(on_one_seed(gain["accuracy"], gain["interval_95"], quick=quick))


@plain_text()
def draw(path, *, title, curves, test, class_names, teacher_logits, reads="images"):
    """Draw the learning curves beside the soft targets of three test examples.

    Args:
        path: the PNG to write.
        title: what was run.
        curves: the epoch logs of each model, by name.
        test: the test `Split`.
        class_names: one string a class.
        teacher_logits: `[n, ..., num_classes]`, of the test examples; `None` without a teacher, of
            whom nothing is drawn then.
        reads: as in `Data`.
    """
    # Not pyplot: it would keep state in, and choose a window for, the caller's program.
    from matplotlib.figure import Figure

    if teacher_logits is None:
        figure = Figure(figsize=(6, 6.5), layout="constrained")
        _draw_curves(figure, title, curves)
    else:
        figure = Figure(figsize=(15, 6.5), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.9))
        _draw_curves(left, title, curves)
        _draw_soft_targets(right, test, class_names, teacher_logits, reads)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=110)


def _draw_curves(figure, title, curves):
    axes = figure.subplots()
    figure.suptitle(f"{label(title)}: accuracy while training")
    for name, logs in curves.items():
        epochs = np.arange(1, len(logs["val_accuracy"]) + 1)
        look, kept = look_of(name), [logs["best_epoch"] - 1]
        style = {"color": look.colour, "linestyle": look.line, "marker": look.marker}
        axes.plot(epochs, logs["val_accuracy"], label=title_of(name), markevery=kept, **style)
        axes.plot(epochs, logs["accuracy"], color=look.colour, linewidth=1, alpha=0.4)
    axes.plot([], [], color="black", linewidth=1, alpha=0.4, label="pale: on training examples")
    axes.plot([], [], "o", color="black", label="best epoch, kept")
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy on validation examples")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _draw_soft_targets(figure, test, class_names, teacher_logits, reads):
    teacher_logits, numbers = teacher_logits.reshape(-1, len(class_names)), test.labels.ravel()
    chosen, named = _sure_to_torn(teacher_logits), labels(class_names)
    figure.suptitle(
        "What the teacher says of three test examples: softmax(logits / T); the label in blue"
    )
    grid = figure.subplots(
        len(chosen), 1 + len(_TEMPERATURES), width_ratios=(1, *(1.1 for _ in _TEMPERATURES))
    )
    for axes, temperature in zip(grid[0, 1:], _TEMPERATURES, strict=True):
        axes.set_title(f"T = {temperature}", fontsize=10)
    of_places = test.labels.ndim > 1
    images = np.empty(0) if of_places else pictures(test, chosen)
    for row, index in zip(grid, chosen, strict=True):
        if len(images):
            image, images = images[0], images[1:]
            row[0].imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray_r")
        else:
            said, size = f"number {index}", 9
            if reads == "texts" and not of_places:
                said, size = _shown(test.images[index]), 8
            row[0].text(0.5, 0.5, said, ha="center", va="center", fontsize=size)
        row[0].set_axis_off()
        number = numbers[index]
        drawn = _drawn(teacher_logits[index], number)
        row[0].set_title(f"label: {named[number]}", fontsize=9)
        for axes, temperature in zip(row[1:], _TEMPERATURES, strict=True):
            soft_targets = metrics.softmax(teacher_logits[index] / temperature)[drawn]
            colours = [LOOKS["student"].colour if each == number else "#999999" for each in drawn]
            axes.barh(range(len(drawn)), soft_targets, color=colours)
            axes.set_xlim(0, 1)
            axes.invert_yaxis()
            axes.set_yticks([])
            axes.tick_params(labelsize=7)
        row[1].set_yticks(range(len(drawn)), [named[each] for each in drawn], fontsize=7)


def _drawn(logits, label):
    """Return the classes to draw of an example: all, or of many the likeliest and the label."""
    if len(logits) <= _MOST_CLASSES:
        return np.arange(len(logits))
    likeliest = np.argsort(-logits)[:_MOST_CLASSES]
    return likeliest if label in likeliest else [*likeliest[:-1], label]


def _shown(numbers):
    """Return the beginning of a text, in a few lines."""
    (text,) = decode_texts([numbers])
    return textwrap.fill(printable(text), 28, max_lines=7, placeholder=" ...")


def _sure_to_torn(logits):
    """Return three examples of which the teacher is sure, less sure, and torn."""
    probabilities = metrics.softmax(logits)
    entropies = -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-30)), axis=-1)
    order = np.argsort(entropies)
    return [order[int(share * (len(order) - 1))] for share in (0.3, 0.85, 0.98)]
