"""What is no Keras model as a `keras.Model` of one layer that asks it."""

import hashlib
import os
import threading
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.model_files import check_path, first_sentence, load_model_file
from keras_kd.teachers import runtimes
from keras_kd.teachers.features import layers_of

_KINDS = "a .keras, .h5, .onnx or .tflite file, or a SavedModel"


class Asked(keras.layers.Layer):
    """Asks a function for its answers, and passes no gradient.

    Args:
        answer: from a list of arrays, one an input, to a list of arrays, one an output, or, if
            it is `compiled`, of tensors.
        outputs: `{name: keras.KerasTensor}`.
        fingerprint: a string that is another wherever the answers may be.
        compiled: whether `answer` is made of TensorFlow's own operations.
        head: what its only output is known to be, as in `Teacher`, or `None`.
    """

    def __init__(self, answer, outputs, fingerprint, *, compiled=False, head=None, name=None):
        super().__init__(name=name, trainable=False, dtype="float32")
        self.answer, self.specs = answer, list(outputs.values())
        self.fingerprint, self.compiled = fingerprint, compiled
        self.head = "logits" if tuple(outputs) == ("logits",) else head
        # Neither LiteRT's interpreter nor every estimator may be asked by two threads at once.
        self.lock = threading.Lock()

    def call(self, *inputs):
        if self.compiled:
            outputs = self.answer(inputs)
        else:
            dtypes = [each.dtype for each in self.specs]
            outputs = tf.nest.flatten(tf.numpy_function(self._checked, inputs, dtypes))
        for spec, output in zip(self.specs, outputs, strict=True):
            output.set_shape(spec.shape)
        return outputs if len(outputs) > 1 else outputs[0]

    def compute_output_spec(self, *inputs):
        return self.specs if len(self.specs) > 1 else self.specs[0]

    def _checked(self, *inputs):
        with self.lock:
            answers = self.answer(inputs)
        found = []
        for spec, each in zip(self.specs, answers, strict=True):
            each = np.asarray(each)
            wanted = (len(inputs[0]), *spec.shape[1:])
            fits = each.ndim == len(wanted) and all(
                own in (None, size) for own, size in zip(wanted, each.shape, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"The teacher {self.name} must answer {len(inputs[0])} examples with an array "
                    f"of shape {wanted}. Received: {each.shape}"
                )
            found.append(each.astype(spec.dtype))
        return found


def asked_model(answer, inputs, outputs, fingerprint, *, name, compiled=False, head=None):
    """Return a Functional model that asks a function.

    Args:
        answer: as in `Asked`.
        inputs: `{name: keras.KerasTensor}`.
        outputs: likewise.
        fingerprint: as in `Asked`.
        name: of the model.
        compiled: as in `Asked`.
        head: as in `Asked`.
    """
    ends = {
        key: keras.Input(batch_shape=each.shape, dtype=each.dtype, name=key)
        for key, each in inputs.items()
    }
    layer = Asked(answer, outputs, fingerprint, name=name, compiled=compiled, head=head)
    said = layer(*ends.values())
    if len(outputs) > 1:
        said = dict(zip(outputs, said, strict=True))
    return keras.Model(ends if len(ends) > 1 else next(iter(ends.values())), said, name=name)


def as_model(given, *, examples=None, name=None):
    """Return a `keras.Model` that says what `given` says.

    Args:
        given: a `keras.Model`; the path of a `.keras`, `.h5`, `.onnx` or `.tflite` file or of a
            SavedModel; an object with `predict_proba`; or a function from a batch to an array.
        examples: a batch of inputs: a function is asked about them.
        name: what a function's answers are known by.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none of these, or cannot be loaded.
    """
    if isinstance(given, keras.Model):
        return given
    if isinstance(given, (str, os.PathLike)):
        return load_any(given)
    if callable(getattr(given, "predict_proba", None)):
        return _of_estimator(given, examples)
    if callable(given) and not isinstance(given, (type, keras.layers.Layer)):
        return _of_function(given, examples, name)
    raise ValueError(
        "The teacher must be a keras.Model, the path of a model file, an estimator with "
        "`predict_proba`, or a function from a batch to an array. "
        f"Received: {given if isinstance(given, type) else type(given).__name__}."
    )


def load_any(path, *, signature=None):
    """Load a model file of any kind as a `keras.Model`, without running Python that it may carry.

    Args:
        path: a `.keras`, `.h5`, `.onnx` or `.tflite` file, or the folder of a SavedModel.
        signature: of a SavedModel or a `.tflite` file: which; `serving_default`, or the only one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another kind, or damaged.
        ImportError: if its runtime is not installed.
    """
    path, kind = os.fspath(path), _kind_of(path)
    if kind is None:
        check_teacher_path(path)
    if signature is not None and kind not in ("saved_model", "tflite"):
        raise ValueError(
            "`signature` is for a SavedModel or a .tflite file. "
            f"Received: signature={signature!r} for {path}. Leave it out."
        )
    if kind is None:
        return load_model_file(path, "teacher")
    options = {} if kind == "onnx" else {"signature": signature}
    found = getattr(runtimes, kind)(path, **options)
    name = runtimes.plain_name(os.path.splitext(os.path.basename(os.path.normpath(path)))[0])
    return asked_model(**_logits_alone(**found), name=name)


def check_teacher_path(path):
    """Refuse the path of what is no model file, without looking into it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else.
    """
    if _kind_of(path) is None:
        check_path(path, "teacher", kinds=_KINDS)


def _kind_of(path):
    """Return which of the other runtimes reads a file, `None` if none does."""
    if os.path.isfile(os.path.join(path, "saved_model.pb")):
        return "saved_model"
    kind = os.path.splitext(path)[1].lower()
    return kind[1:] if kind in (".onnx", ".tflite") and os.path.isfile(path) else None


def fingerprints_of(model):
    """Return the fingerprints of whatever a model asks that is no Keras model."""
    return [each.fingerprint for each in layers_of(model) if isinstance(each, Asked)]


def runs_in_tensorflow(model):
    """Return whether TensorFlow runs all of a model: then XLA may, and gradients pass."""
    return all(each.compiled for each in layers_of(model) if isinstance(each, Asked))


def head_known(model):
    """Return what the only output of a model of `asked_model` is known to be, or `None`."""
    return next((each.head for each in model.layers if isinstance(each, Asked)), None)


def _logits_alone(answer, outputs, **others):
    """Leave out the probabilities that our own files return beside their logits."""
    if set(outputs) != {"logits", "probabilities"}:
        return {"answer": answer, "outputs": outputs, **others}
    at = list(outputs).index("logits")
    return {
        "answer": lambda inputs: [answer(inputs)[at]],
        "outputs": {"logits": outputs["logits"]},
        **others,
    }


def _of_estimator(estimator, examples):
    """Return a model of a fitted classifier's `predict_proba`."""
    name = type(estimator).__name__
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        raise ValueError(
            f"The estimator {name} must be fitted. Received: one without `classes_`. Call its "
            "`fit` first."
        )
    if isinstance(classes, list):
        raise ValueError(
            f"The estimator {name} must tell the classes of one label apart. Received: one of "
            f"{len(classes)} labels. Give each label's estimator a teacher of its own."
        )
    count = getattr(estimator, "n_features_in_", None)
    if count is None and examples is None:
        raise ValueError(
            f"The estimator {name} does not say how many features it takes. Pass a batch of its "
            "inputs: `examples=`."
        )
    shape = (None, *np.shape(examples)[1:]) if count is None else (None, count)

    def answer(inputs):
        with warnings.catch_warnings():
            # It was fitted on a table with names for its columns.
            warnings.filterwarnings("ignore", message=".*valid feature names")
            return [estimator.predict_proba(inputs[0])]

    return asked_model(
        answer,
        {"features": keras.KerasTensor(shape, "float32")},
        {"probabilities": keras.KerasTensor((None, len(classes)), "float32")},
        _digest_of(estimator),
        name=runtimes.plain_name(name),
        head="softmax",
    )


def _digest_of(estimator):
    """Return a digest of all that an estimator was fitted to."""
    import joblib  # Whatever has `predict_proba` brought it along.

    return f"{type(estimator).__module__}.{type(estimator).__name__} {joblib.hash(estimator)}"


def _of_function(function, examples, name):
    """Return a model of a function from a batch of arrays to an array, or a dict of such."""
    if not isinstance(name, str) or not name:
        raise ValueError(
            "A teacher that is a function needs a name, by which its soft labels are known: "
            f"`Teacher(function, name='server, version 3', examples=batch)`. Received: {name!r}."
        )
    if examples is None:
        raise ValueError(
            f"The teacher {name} is a function, which does not say what it takes. Pass a batch of "
            "its inputs: `examples=`."
        )
    structure = keras.tree.map_structure(np.asarray, examples)
    by_name = structure if isinstance(structure, dict) else {"inputs": structure}
    if any(keras.tree.is_nested(each) for each in by_name.values()):
        raise ValueError(
            f"The teacher {name}, a function, must take an array or a dict of arrays. "
            f"Received: {type(examples).__name__}."
        )

    def ask(inputs):
        given = dict(zip(by_name, inputs, strict=True))
        answers = function(given if isinstance(structure, dict) else inputs[0])
        return answers if isinstance(answers, dict) else {"answers": answers}

    try:
        said = {key: np.asarray(each) for key, each in ask(list(by_name.values())).items()}
    except Exception as error:  # The user's function may fail in any way.
        raise ValueError(
            f"The teacher {name} must answer `examples`. Received: {type(error).__name__}: "
            f"{first_sentence(error)}."
        ) from error
    count = len(next(iter(by_name.values())))
    for each in said.values():
        if each.ndim < 2 or len(each) != count or each.dtype.kind not in "fiu":
            raise ValueError(
                f"The teacher {name} must answer {count} examples with numbers [{count}, ..., "
                f"classes]. Received: an array of {each.dtype} of shape {each.shape}."
            )
    return asked_model(
        lambda inputs: list(ask(inputs).values()),
        {
            key: keras.KerasTensor((None, *each.shape[1:]), each.dtype.name)
            for key, each in by_name.items()
        },
        {key: keras.KerasTensor((None, *each.shape[1:]), "float32") for key, each in said.items()},
        f"function {hashlib.sha256(name.encode()).hexdigest()}",
        name=runtimes.plain_name(name),
    )
