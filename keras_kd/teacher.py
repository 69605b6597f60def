"""The teacher: any trained Keras classifier as one frozen function from images to logits."""

import hashlib
import warnings

import keras
import numpy as np
from keras import ops

from keras_kd._model_files import load_model_file
from keras_kd.features import feature_model
from keras_kd.heads import open_head

_HEADS = ("logits", "softmax", "sigmoid")

# The smallest normal float32: log of it is -87.3, below any logit gap a float32 softmax shows.
_TINY = float(np.finfo(np.float32).tiny)
# The largest float32 below 1.
_BELOW_ONE = 1 - 2.0**-24


class Teacher:
    """A frozen classifier that answers with logits, whatever its last layer is.

    A model that ends in softmax or sigmoid gives away less than its logits; a distillation loss
    needs them. So the head is opened: the layers up to the last activation are used, sharing the
    model's weights. A head that cannot be opened is read through `log(p)`, which equals the
    logits up to a constant that a softmax ignores (for sigmoid, through `log(p / (1 - p))`).

    The model is never changed: it runs with `training=False`, under `stop_gradient`, and is not
    tracked by what uses it, so that it is in no checkpoint and its `trainable` flags stay as
    they are.

    Args:
        model: a built `keras.Model` with one input and one output `[batch, num_classes]` (or
            `[batch, ..., num_classes]`, for a class at every place or time).
        head: what the model's output is: `"logits"`, `"softmax"` or `"sigmoid"`. Found out if
            `None`: from the last layer, else from the model's answers to a few made-up images
            (with a warning that says what was found), else refused.
        image_shape: shape of one input, for a model that does not know it (a subclassed one).
        preprocess: what turns the student's images into the model's, such as
            `keras.layers.Resizing(224, 224)`; called on each batch.
        class_map: for each class of the teacher, in its order, the student's class; for a
            teacher that knows fewer classes, or knows them in another order. The student is then
            compared on those classes alone.

    Attributes:
        head: `"logits"`, `"softmax"` or `"sigmoid"`.
        num_classes: number of logits.
        input_shape: shape of a batch of images, `None` where free; `None` itself if `preprocess`
            takes images of any shape.

    Raises:
        ValueError: if the model is no classifier with one output, its weights or its answers
            hold NaN or infinity, or it cannot be told what its output is.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_kd as kd

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    teacher = kd.Teacher(model)
    assert teacher.head == "softmax"
    logits = teacher(np.ones((2, 4), "float32"))
    assert np.allclose(keras.ops.softmax(logits), model(np.ones((2, 4), "float32")), atol=1e-6)
    ```
    """

    def __init__(self, model, *, head=None, image_shape=None, preprocess=None, class_map=None):
        if not isinstance(model, keras.Model):
            raise ValueError(
                f"The teacher must be a keras.Model. Received: {type(model).__name__}. "
                "Load a file with `keras_kd.load_teacher(path)`."
            )
        if head is not None and head not in _HEADS:
            raise ValueError(f"`head` must be one of {', '.join(_HEADS)}. Received: head={head!r}.")
        if not model.built:
            raise ValueError(
                f"The teacher {model.name} must be built. Received: a model without weights. "
                "Call it on one batch, or begin it with a keras.Input."
            )
        _check_weights(model)
        self.model = model
        input_shape = _input_shape(model, image_shape)
        outputs = _answers(model, input_shape)
        self.preprocess = preprocess
        self.input_shape = input_shape if preprocess is None else None
        self.num_classes = outputs.shape[-1]
        self.class_map = _checked_class_map(class_map, self.num_classes)

        self._logits_model, opened = open_head(model)
        if head is not None and opened not in (None, head):
            raise ValueError(
                f"`head` must be what the teacher ends in. Received: head={head!r} for a model "
                f"that ends in {opened}."
            )
        self.head = head or opened or _head_from_answers(model, outputs)
        self._opened = opened is not None
        self._feature_models = {}

    def __call__(self, images):
        """Return the logits of `images` as float32 `[batch, num_classes]`, without gradient."""
        # training=False: a teacher in training mode drops units and moves its BatchNorm
        # statistics.
        return ops.stop_gradient(self.with_gradient(images)["logits"])

    def with_features(self, images, layer_names):
        """Return logits and inner layers' outputs from one pass, without gradient.

        Args:
            images: as in a call.
            layer_names: names of layers, nested ones as `backbone/block_3`.

        Returns:
            A dict: `"logits"`, and each layer's output under its name.

        Raises:
            ValueError: if the model has no such layer, or no graph to look into.
        """
        outputs = self.with_gradient(images, layer_names)
        return {name: ops.stop_gradient(output) for name, output in outputs.items()}

    def with_gradient(self, images, layer_names=()):
        """Return what `with_features` does, with a gradient by `images`, for who makes them.

        Args:
            images: as in a call.
            layer_names: as in `with_features`.
        """
        if not layer_names:
            outputs = self._logits_model(self._prepared(images), training=False)
            return {"logits": self._as_logits(outputs)}
        outputs = self._feature_model(tuple(layer_names))(self._prepared(images), training=False)
        features = {name: outputs[name] for name in layer_names}
        return {"logits": self._as_logits(outputs["logits"]), **features}

    def feature_shape(self, layer_name):
        """Return the shape of a batch of a layer's output; of the logits for `None`."""
        if layer_name is None:
            known = getattr(self._logits_model, "outputs", None)
            return tuple(known[0].shape) if known else (None, self.num_classes)
        return tuple(self._feature_model((layer_name,)).output[layer_name].shape)

    def _prepared(self, images):
        return images if self.preprocess is None else self.preprocess(images)

    def _feature_model(self, layer_names):
        if layer_names not in self._feature_models:
            self._feature_models[layer_names] = feature_model(self._logits_model, layer_names)
        return self._feature_models[layer_names]

    def _as_logits(self, outputs):
        outputs = ops.cast(outputs, "float32")
        if not self._opened and self.head == "softmax":
            outputs = ops.log(ops.maximum(outputs, _TINY))
        elif not self._opened and self.head == "sigmoid":
            # NOTE: float32 cannot hold a probability between 1 - 6e-8 and 1, so a logit read
            # this way ends at 16.6.
            outputs = ops.clip(outputs, _TINY, _BELOW_ONE)
            outputs = ops.log(outputs) - ops.log1p(-outputs)
        return outputs

    @property
    def is_sigmoid(self):
        """Whether the classes are independent labels."""
        return self.head == "sigmoid"

    @property
    def fingerprint(self):
        """SHA-256 of the weights as they are now, head, `class_map` and `preprocess` layer."""
        digest = hashlib.sha256(self.head.encode())
        if self.class_map is not None:
            digest.update(str([int(each) for each in self.class_map]).encode())
        if isinstance(self.preprocess, keras.layers.Layer):
            digest.update(repr(self.preprocess.get_config()).encode())
        for weight in self.model.weights:
            value = np.ascontiguousarray(weight.numpy())
            digest.update(f"{value.dtype} {value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()


def load_teacher(path, *, head=None, image_shape=None):
    """Load a `.keras` file as a `Teacher`, without running any code the file may carry.

    Args:
        path: a model saved by `model.save("....keras")`.
        head: as in `Teacher`.
        image_shape: as in `Teacher`.

    Returns:
        A `Teacher`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if Keras cannot load the file safely, or `Teacher` refuses the model.
    """
    return Teacher(load_model_file(path, "teacher"), head=head, image_shape=image_shape)


def _checked_class_map(class_map, num_classes):
    if class_map is None:
        return None
    class_map = tuple(class_map)
    whole = all(
        isinstance(each, (int, np.integer)) and not isinstance(each, bool) and each >= 0
        for each in class_map
    )
    if len(class_map) != num_classes or not whole or len(set(class_map)) != num_classes:
        raise ValueError(
            f"`class_map` must name a different class of the student for each of the teacher's "
            f"{num_classes}. Received: {list(class_map)}."
        )
    return class_map


def _check_weights(model):
    for weight in model.weights:
        value = weight.numpy().astype("float32")
        if not np.isfinite(value).all():
            raise ValueError(
                f"The teacher's weights must be finite. Received: NaN or infinity in "
                f"{weight.path}. Train it again with a smaller learning rate."
            )


def _input_shape(model, image_shape):
    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) > 1:
            raise ValueError(
                f"The teacher must have one input. Received: {len(inputs)}. "
                "Wrap it in a model that takes one."
            )
        return tuple(inputs[0].shape)
    if image_shape is None:
        raise ValueError(
            f"The teacher {model.name} does not know its input shape. "
            "Pass `image_shape`, for example `Teacher(model, image_shape=(28, 28, 1))`."
        )
    return (None, *image_shape)


def _input_dtype(model):
    return model.inputs[0].dtype if getattr(model, "inputs", None) else "float32"


def _answers(model, input_shape):
    """Return the model's outputs for a few made-up images, checked."""
    shape = [size or 32 for size in input_shape[1:]]
    noise = np.random.default_rng(0).uniform(size=(3, *shape))
    # Black, pixels from 0 to 1, pixels from 0 to 255: whichever the teacher was trained on.
    images = np.concatenate([np.zeros((1, *shape)), noise, 255 * noise]).astype("float32")
    if "int" in _input_dtype(model):
        # Numbers of words, say, unless they are pixels; 0 is always one of them.
        images = (images if _input_dtype(model) == "uint8" else 0 * images).astype("int32")
    outputs = keras.tree.flatten(model(images, training=False))
    if len(outputs) != 1 or len(outputs[0].shape) < 2:
        raise ValueError(
            "The teacher must have one output [batch, num_classes]. Received: outputs of shapes "
            f"{[tuple(output.shape) for output in outputs]} for a batch of {len(images)}."
        )
    outputs = ops.convert_to_numpy(ops.cast(outputs[0], "float32"))
    if not np.isfinite(outputs).all():
        raise ValueError(
            "The teacher's outputs must be finite. Received: NaN or infinity for images between "
            "0 and 255. Look at its normalisation (a division by a variance of 0?)."
        )
    return outputs


def _head_from_answers(model, outputs):
    """Return the head that a closed model's outputs prove, with a warning that says so."""
    within = outputs.min() >= 0 and outputs.max() <= 1
    if within and outputs.shape[-1] > 1 and np.allclose(outputs.sum(-1), 1, atol=1e-2):
        head = "softmax"
    elif within:
        raise ValueError(
            f"It cannot be told whether the teacher {model.name} returns logits or independent "
            "probabilities. Say which: `Teacher(model, head='logits')` or `head='sigmoid'`."
        )
    else:
        head = "logits"
    meaning = "probabilities, read through log(p)" if head == "softmax" else "logits"
    warnings.warn(
        f"The last layer of the teacher {model.name} does not say what it returns; its outputs "
        f"are {meaning}. Say so to silence this: `Teacher(model, head={head!r})`.",
        stacklevel=4,
    )
    return head
