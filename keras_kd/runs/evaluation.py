"""What trained models are worth on a split, and what the report needs to know of it."""

import zipfile
import zlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_kd import metrics
from keras_kd._common.files import size_of, written_whole
from keras_kd._common.limits import check_archive
from keras_kd._common.structures import part_for
from keras_kd.data.texts import decode_texts
from keras_kd.soft_labels.predict import images_at_once, shapes_of

_BATCH_SIZE = 1000
# Examples kept for the report, of those on which teacher and student differ.
_NUM_SHOWN = 24
# Places kept for the report, of examples with a class at each of many.
_NUM_PLACES = 20_000


def evaluate(trained, split, folder, *, reads="images"):
    """Ask models for a split once, keep what they said, and return it with its figures.

    Args:
        trained: `{name: Trained}`; the teacher, if there is one, is called `"teacher"`.
        split: the `Split`.
        folder: where `predictions.npz` is written: labels, the logits of each model, and which
            examples teacher and student differ most on, with those images or texts. Of examples
            with a class at every place 20,000 places, drawn, stand there as examples, and nothing
            of images.
        reads: as in `Data`.

    Returns:
        `(logits, figures)`, each by name.
    """
    logits = predict(trained, split)
    labels, kept = _for_the_report(split.labels, logits)
    shown = _differing(logits) if split.labels.ndim == 1 else np.empty(0, int)
    with written_whole(folder / "predictions.npz") as unfinished:
        np.savez_compressed(
            unfinished,
            labels=labels,
            shown=shown,
            images=pictures(split, shown),
            **({"texts": split.images[shown].astype(np.uint8)} if reads == "texts" else {}),
            **{f"logits/{name}": each for name, each in kept.items()},
        )
    return logits, {
        name: figures_of(split.labels, each, logits.get("teacher")) for name, each in logits.items()
    }


def _for_the_report(labels, logits):
    """Return labels `[n]` and logits `[n, num_classes]`, of places a number that can be kept."""
    if labels.ndim == 1:
        return labels, logits
    labels = labels.ravel()
    chosen = np.random.default_rng(0).permutation(len(labels))[:_NUM_PLACES]
    rows = {name: each.reshape(len(labels), -1)[chosen] for name, each in logits.items()}
    return labels[chosen], rows


class Predictions:
    """What models said of a split, read back from `predictions.npz`.

    Args:
        folder: where `evaluate` left it.
        num_classes: of the data.
        names: of the models that it must tell of.

    Attributes:
        labels: integers `[n]`.
        logits: `{name: [n, num_classes]}`.
        shown: positions of the examples that teacher and student differ most on.
        images: those images, `[k, height, width, channels]`; empty if they are none that can be
            drawn.
        texts: those texts, of as many strings; `None` of all else.
    """

    def __init__(self, folder, num_classes, names=("teacher", "student", "student_alone")):
        path = folder / "predictions.npz"
        if not path.is_file():
            raise _damaged(path, "which is not there, or no file")
        try:
            check_archive(path)
        except (EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(path, "which is damaged") from error
        try:
            # NumPy leaves a file open that it cannot read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                self.labels, self.shown, self.images = (
                    arrays[name] for name in ("labels", "shown", "images")
                )
                self.texts = decode_texts(arrays["texts"]) if "texts" in arrays.files else None
                self.logits = {
                    name.removeprefix("logits/"): arrays[name]
                    for name in arrays.files
                    if name.startswith("logits/")
                }
        except OSError as error:
            raise _damaged(path, f"which cannot be read ({error.strerror or error})") from error
        # What is no archive of NumPy's, or one cut short.
        except (AttributeError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile,
                zlib.error) as error:  # fmt: skip
            raise _damaged(path, "which is damaged") from error
        if not self._fits(num_classes, names):
            raise _damaged(path, "whose arrays do not fit")

    def _fits(self, num_classes, names):
        """Return whether the arrays are what `evaluate` writes, for so many classes."""
        if self.labels.ndim != 1 or self.shown.ndim != 1:
            return False
        if self.images.size and self.images.shape[:-3] != self.shown.shape:
            return False
        if self.texts is not None and len(self.texts) != len(self.shown):
            return False
        count = len(self.labels)
        return (
            _are_below(num_classes, self.labels)
            and _are_below(count, self.shown)
            and set(names) <= self.logits.keys()
            and all(
                each.shape == (count, num_classes) and each.dtype.kind == "f"
                for each in self.logits.values()
            )
        )

    def confusion(self, name):
        """Return the shares of each label's images that are taken for each class, row by row."""
        num_classes = self.logits[name].shape[-1]
        matrix = np.zeros((num_classes, num_classes))
        np.add.at(matrix, (self.labels, self.logits[name].argmax(-1)), 1)
        return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)

    def confidences(self, name):
        """Return the largest probability for each image, and whether that class is right."""
        logits = self.logits[name]
        return metrics.softmax(logits).max(axis=-1), logits.argmax(-1) == self.labels


def _are_below(limit, values):
    return values.dtype.kind in "iu" and bool(((values >= 0) & (values < limit)).all())


def _damaged(path, reason):
    return ValueError(
        f"What a run's models predicted must be as it was written. Received: {path}, {reason}. Say "
        "the command of the run again: what is trained is used."
    )


def predict(trained, split):
    """Return the logits of models for a split, by name."""
    return {name: logits_of(each.model, split) for name, each in trained.items()}


def logits_of(model, split):
    """Return a model's (or teacher's) logits of all examples, `[n, ..., num_classes]`.

    Args:
        model: anything called with a batch of what it takes.
        split: a `Split`.
    """
    batch_size = images_at_once(*shapes_of(split.images), at_most=_BATCH_SIZE)
    ask, found = None, []
    for start in range(0, len(split), batch_size):
        examples = split.tensors(slice(start, start + batch_size))
        ask = ask or compiled(model, examples)
        found.append(ask(examples).numpy())
    return np.concatenate(found)


def compiled(model, examples):
    """Return the compiled function from a batch of what a model takes to logits.

    Compiled, a model lets go of what its layers made as soon as the next ones have read it.

    Args:
        model: anything called with a batch of what it takes.
        examples: such a batch, of any size.
    """

    @tf.function(autograph=False)
    def ask(inputs):
        if isinstance(model, keras.Model):
            inputs = part_for(model, inputs)
            (logits,) = keras.tree.flatten(model(inputs, training=False))
            return logits
        return model(inputs)

    # Of one shape, traced once: TensorFlow would warn of every new function as of a retracing.
    return ask.get_concrete_function(
        keras.tree.map_structure(
            lambda each: tf.TensorSpec([None, *each.shape[1:]], each.dtype), examples
        )
    )


def figures_of(labels, logits, teacher_logits=None):
    """Return what a model is worth, as a dict of numbers.

    Args:
        labels: integers `[n]`, or `[n, ...]` of a class at every place.
        logits: `[n, num_classes]`, or `[n, ..., num_classes]`.
        teacher_logits: the same of the teacher, if there is one.
    """
    figures = {
        "accuracy": metrics.accuracy(labels, logits),
        "negative_log_likelihood": metrics.negative_log_likelihood(labels, logits),
        "expected_calibration_error": metrics.expected_calibration_error(labels, logits),
    }
    if teacher_logits is not None:
        figures["agreement_with_teacher"] = metrics.agreement(logits, teacher_logits)
    return figures


def describe_models(folder, trained, figures, files=None):
    """Return what is known of trained models, as dicts by name.

    Of a teacher that was not trained here there are parameters alone, and bytes if its file is
    known.

    Args:
        folder: where their `.keras` files lie.
        trained: `{name: Trained}`.
        figures: of each on the test split, by name.
        files: `{name: name of the file}` where they are others than the models'; or a `Path`, for
            a file that lies elsewhere.
    """
    files = {name: name for name, each in trained.items() if each.curves} | (files or {})
    described = {}
    for name, (model, curves) in trained.items():
        described[name] = _curves_of(curves) if curves else {}
        described[name] |= {"parameters": model.count_params()}
        if name in files:
            path = files[name]
            path = path if isinstance(path, Path) else folder / f"{path}.keras"
            described[name] |= {"bytes": size_of(path)}
        described[name] |= {"test": figures[name]}
    return described


def _curves_of(curves):
    """Return what `Trained.curves` say of a training."""
    best = curves["best_epoch"]
    return {
        "epochs": len(curves["loss"]),
        "best_epoch": best,
        "seconds": curves["seconds"],
        "validation_accuracy": curves["val_accuracy"][best - 1],
    }


def pictures(split, chosen):
    """Return the images at some positions as they can be drawn; none of other data.

    Args:
        split: a `Split`.
        chosen: integers `[k]`.
    """
    images = split.images
    if keras.tree.is_nested(images) or images.ndim != 4 or images.shape[-1] > 4:
        return np.empty(0)
    return images[chosen]


def _differing(logits):
    """Return positions on which teacher and student differ, the widest apart first."""
    if "teacher" not in logits:
        return np.empty(0, int)
    teacher, student = metrics.softmax(logits["teacher"]), metrics.softmax(logits["student"])
    differ = np.flatnonzero(teacher.argmax(-1) != student.argmax(-1))
    apart = np.abs(teacher[differ] - student[differ]).sum(-1)
    return differ[np.argsort(-apart, kind="stable")][:_NUM_SHOWN]
