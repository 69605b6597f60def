"""What trained models are worth on a split, and what the report needs to know of it."""

import zipfile
import zlib

import keras
import numpy as np
import tensorflow as tf

from keras_kd import metrics
from keras_kd._common.files import size_of, written_whole
from keras_kd._common.limits import check_archive
from keras_kd.soft_labels import images_at_once

_BATCH_SIZE = 1000
# Images kept for the report, of those on which teacher and student differ.
_NUM_SHOWN = 24


def evaluate(trained, split, folder):
    """Ask models for a split once, keep what they said, and return it with its figures.

    Args:
        trained: `{name: Trained}`; one is called `"teacher"`.
        split: the `Split`.
        folder: where `predictions.npz` is written: labels, the logits of each model, and a few
            images on which teacher and student differ.

    Returns:
        `(logits, figures)`, each by name.
    """
    logits = predict(trained, split)
    shown = _differing(logits, split.labels)
    with written_whole(folder / "predictions.npz") as unfinished:
        np.savez_compressed(
            unfinished,
            labels=split.labels,
            shown=shown,
            images=split.images[shown],
            **{f"logits/{name}": each for name, each in logits.items()},
        )
    return logits, {
        name: figures_of(split.labels, each, logits["teacher"]) for name, each in logits.items()
    }


class Predictions:
    """What models said of a split, read back from `predictions.npz`.

    Args:
        folder: where `evaluate` left it.
        num_classes: of the data.

    Attributes:
        labels: integers `[n]`.
        logits: `{name: [n, num_classes]}`.
        shown: positions of the images kept, on which teacher and student differ.
        images: those images.
    """

    def __init__(self, folder, num_classes):
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
        if not self._fits(num_classes):
            raise _damaged(path, "whose arrays do not fit")

    def _fits(self, num_classes):
        """Return whether the arrays are what `evaluate` writes, for so many classes."""
        if self.labels.ndim != 1 or self.shown.ndim != 1 or self.images.ndim != 4:
            return False
        count = len(self.labels)
        return (
            _are_below(num_classes, self.labels)
            and _are_below(count, self.shown)
            and len(self.images) == len(self.shown)
            and {"teacher", "student", "student_alone"} <= self.logits.keys()
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
    return {name: _logits(each.model, split.images) for name, each in trained.items()}


def figures_of(labels, logits, teacher_logits=None):
    """Return what a model is worth, as a dict of numbers.

    Args:
        labels: integers `[n]`.
        logits: `[n, num_classes]`.
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

    Args:
        folder: where their `.keras` files lie.
        trained: `{name: Trained}`.
        figures: of each on the test split, by name.
        files: names of the files, where they are others than the models'.
    """
    files = files or {name: name for name in trained}
    return {
        name: _describe_model(folder / f"{files[name]}.keras", *trained[name])
        | {"test": figures[name]}
        for name in trained
    }


def _describe_model(path, model, curves):
    """Return what is known of a trained model without the test split, as a dict.

    Args:
        path: its `.keras` file.
        model: the `keras.Model`.
        curves: its `Trained.curves`.
    """
    best = curves["best_epoch"]
    return {
        "epochs": len(curves["loss"]),
        "best_epoch": best,
        "seconds": curves["seconds"],
        "validation_accuracy": curves["val_accuracy"][best - 1],
        "parameters": model.count_params(),
        "bytes": size_of(path),
    }


def _logits(model, images):
    # Not `predict`, which compiles: for one pass of many models that takes longer, and TensorFlow
    # warns about it.
    batch_size = images_at_once(images.shape[1:], at_most=_BATCH_SIZE)
    return np.concatenate(
        [
            np.asarray(model(images[start : start + batch_size], training=False))
            for start in range(0, len(images), batch_size)
        ]
    )


def _differing(logits, labels):
    """Return positions on which teacher and student differ, the widest apart first."""
    teacher, student = metrics.softmax(logits["teacher"]), metrics.softmax(logits["student"])
    differ = np.flatnonzero(teacher.argmax(-1) != student.argmax(-1))
    apart = np.abs(teacher[differ] - student[differ]).sum(-1)
    return differ[np.argsort(-apart, kind="stable")][:_NUM_SHOWN]


def logits_of(model, split):
    """Return a model's (or teacher's) logits of all images of a split, `[n, num_classes]`.

    Args:
        model: anything called with a batch of images.
        split: a `Split`.
    """
    batches = split.batches(images_at_once(split.images.shape[1:], at_most=_BATCH_SIZE))
    ask = compiled(model, batches.element_spec[0])
    return np.concatenate([ask(images).numpy() for images, _ in batches])


def compiled(model, spec):
    """Return the compiled function from a batch of images to logits.

    Args:
        model: anything called with a batch of images.
        spec: the `tf.TensorSpec` of a batch.
    """

    @tf.function
    def ask(images):
        return model(images, training=False) if isinstance(model, keras.Model) else model(images)

    # Of one shape, traced once: TensorFlow would warn of every new function as of a retracing.
    return ask.get_concrete_function(tf.TensorSpec([None, *spec.shape[1:]], spec.dtype))
