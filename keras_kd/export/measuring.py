"""What a file answers and costs, from fresh processes, beside what Keras answers."""

import keras
import numpy as np

from keras_kd import metrics
from keras_kd._common.inputs import taken_by
from keras_kd._common.structures import part_for
from keras_kd.export import runner
from keras_kd.export.ends import inputs_of, probes

_MADE_UP_IMAGES = 256
# A file that answers otherwise on every second image is broken, whatever its budget.
_LEAST_AGREEMENT = 0.5
_BYTES_AT_ONCE = 12_000_000


class Question:
    """What every file is asked, and what Keras answers to it."""

    def __init__(self, model, data, teacher, input_range, workshop):
        self.model, self.data, self.teacher = model, data, teacher
        self.input_range, self.workshop = input_range, workshop
        shapes = {name: end.shape[1:] for name, end in inputs_of(model).items()}
        if data is None:
            inputs, self.labels = probes(model, input_range, _MADE_UP_IMAGES), None
            self.calibration = None
            asked = inputs if len(shapes) > 1 else inputs["image"]
        else:
            inputs, self.labels = taken_of(model, data.test), data.test.labels
            self.calibration = taken_of(model, data.train)
            asked = data.test.images
        taken = taken_by(shapes, inputs, what=f"The model {model.name}")
        self.num_examples = len(next(iter(taken.values())))
        self.inputs_file = workshop / "inputs.npz"
        np.savez(self.inputs_file, **taken)
        self.student_logits = _predicted(model, asked)
        self.teacher_logits = None if teacher is None else _predicted(teacher, asked)

    def accuracy(self, logits):
        return None if self.labels is None else metrics.accuracy(self.labels, logits)

    def references(self):
        """Return accuracy and bytes of the weights of the float models that files stand beside."""
        return {
            name: {"accuracy": self.accuracy(logits), "bytes": 4 * model.count_params()}
            for name, model, logits in (
                ("student", self.model, self.student_logits),
                ("teacher", self.teacher, self.teacher_logits),
            )
            if model is not None
        }


def taken_of(model, split):
    """Return what a model takes of a split: an array, or of several inputs a dict by name."""
    taken = keras.tree.flatten(part_for(model, split.images))
    if len(taken) == 1:
        return taken[0]
    names = keras.tree.flatten(part_for(model, {name: name for name in inputs_of(model)}))
    return dict(zip(names, taken, strict=True))


def range_of(model, data):
    """Return the lowest and the highest number that a model of one input is given."""
    # Of texts any byte, whichever there were.
    if data is None or data.reads in ("images", "texts") or len(model.inputs) > 1:
        return 0.0, 255.0
    numbers = taken_of(model, data.train)
    return float(numbers.min()), float(numbers.max())


def measured(path, question):
    """Return the figures of a file, run on all images in fresh processes.

    Args:
        path: the file or folder.
        question: a `Question`.

    Raises:
        ValueError: if the file does not run, or answers nonsense.
    """
    single, logits = _run_afresh(path, question, 1)
    double, _ = _run_afresh(path, question, 2)
    agreement = metrics.agreement(logits, question.student_logits)
    if question.data is not None and agreement < _LEAST_AGREEMENT:
        raise ValueError(
            f"{path.name} must answer as the student does. Received: the same class on "
            f"{100 * agreement:.1f} % of the test images. The file was not kept."
        )
    accuracy = question.accuracy(logits)
    expected = question.accuracy(question.student_logits)
    teacher = question.teacher_logits
    return {
        "accuracy": accuracy,
        "drop_points": None if accuracy is None else 100 * (expected - accuracy),
        "agreement_with_student": agreement,
        "agreement_with_teacher": (None if teacher is None else metrics.agreement(logits, teacher)),
        "largest_logit_error": float(np.abs(logits - question.student_logits).max()),
        "microseconds": {
            "1 thread": _percentiles(single["microseconds"]),
            "2 threads": _percentiles(double["microseconds"]),
        },
        "peak_bytes": single["peak_bytes"],
        "added_bytes": single["added_bytes"],
    }


def _run_afresh(path, question, num_threads):
    """Return what `runner.py` prints, and the logits, from a process without keras_kd."""
    answers_file = question.workshop / "answers.npz"
    said = runner.run_afresh(path, question.inputs_file, answers_file, num_threads)
    with np.load(answers_file) as file:
        logits = file["logits"]
    if not np.isfinite(logits).all():
        raise ValueError(f"{path.name} must answer with finite logits. Received: NaN or infinity.")
    return said, logits


def _percentiles(times):
    return {f"p{share}": float(np.percentile(times, share)) for share in (50, 90, 99)}


def _predicted(model, images):
    # Large images a few at a time: what a model makes of them takes many times their size.
    size = sum(each[0].nbytes for each in keras.tree.flatten(images))
    batch_size = int(np.clip(_BYTES_AT_ONCE // size, 1, 1000))
    model = getattr(model, "model", model)
    answers = model.predict(part_for(model, images), batch_size=batch_size, verbose=0)
    return keras.ops.convert_to_numpy(answers).astype("float32")
