"""The teacher: any trained Keras classifier as one frozen function from images to logits."""

import hashlib
import warnings

import keras
import numpy as np
from keras import ops

from keras_kd._common.model_files import load_model_file
from keras_kd._common.reprs import call_of
from keras_kd._common.structures import output_names, part_for
from keras_kd.teachers.features import feature_model
from keras_kd.teachers.heads import read_head
from keras_kd.teachers.outputs import TeacherOutputs

_HEADS = ("logits", "softmax", "sigmoid")

# The smallest normal float32: log of it is -87.3, below any logit gap a float32 softmax shows.
_TINY = float(np.finfo(np.float32).tiny)
# The largest float32 below 1.
_BELOW_ONE = 1 - 2.0**-24


class Teacher:
    """A frozen classifier that answers with logits, whatever its last layer is.

    A model that ends in softmax or sigmoid gives away less than its logits; a distillation loss
    needs them. So the head is opened: the layers up to the last activation are used, sharing the
    model's weights. It counts as opened if the activation gives the model's own answers to a few
    inputs. A head that cannot be opened is read through `log(p)`, which equals the logits up to a
    constant that a softmax ignores (for sigmoid, through `log(p / (1 - p))`).

    The model is never changed: it runs with `training=False`, under `stop_gradient`, and is not
    tracked by what uses it, so that it is in no checkpoint and its `trainable` flags stay as
    they are. One that would change itself, such as a stateful RNN, answers each batch from the
    state that it has.

    Args:
        model: a built `keras.Model` with one input and one output `[batch, num_classes]` (or
            `[batch, ..., num_classes]`, for a class at every place or time), alone or in a dict
            or list of one.
        head: what the model's output is: `"logits"`, `"softmax"` or `"sigmoid"`. Found out if
            `None`, from the model's answers (with a warning where the last layer does not say
            it); refused if they do not tell.
        image_shape: shape of one input, for a model that does not know it (a subclassed one).
        preprocess: what turns the student's images into the model's, such as
            `keras.layers.Resizing(224, 224)`; called on each batch.
        class_map: for each class of the teacher, in its order, the student's class; for a
            teacher that knows fewer classes, or knows them in another order. The student is then
            compared on those classes alone.
        examples: a batch of inputs as the teacher will be given them, to try the model on; made
            up if `None`. Pass some where made-up ones are refused.

    Attributes:
        head: `"logits"`, `"softmax"` or `"sigmoid"`.
        num_classes: number of logits.
        changes: paths of the variables that a plain call of the model would change.
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

    def __init__(
        self,
        model,
        *,
        head=None,
        image_shape=None,
        preprocess=None,
        class_map=None,
        examples=None,
    ):
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
        self.models = [model]
        if examples is not None and preprocess is not None:
            examples = preprocess(examples)
        input_shape = _input_shape(model, image_shape, examples)
        found = read_head(
            model,
            examples=examples,
            image_shape=input_shape and input_shape[1:],
            what="teacher",
        )
        self.preprocess = preprocess
        self.input_shape = input_shape if preprocess is None else None
        self.num_classes = found.answers.shape[-1]
        self.class_map = _checked_class_map(class_map, self.num_classes)
        self.head = _checked_head(model, found, head)
        self.changes = found.trial.changed
        self._opened = found.name == self.head and found.logits_model is not None
        self._logits_model = found.logits_model if self._opened else model
        self._feature_models = {}
        (name,) = self.output_names = output_names(model, found.trial.outputs)
        self.heads = {name: self.head}
        self.class_maps = {} if self.class_map is None else {name: self.class_map}

    def __repr__(self):
        made_with = {"class_map": self.class_map, "preprocess": self.preprocess}
        return call_of(
            self,
            model=self.model.name,
            head=self.head,
            num_classes=self.num_classes,
            input_shape=self.input_shape,
            **{name: value for name, value in made_with.items() if value is not None},
        )

    def __call__(self, images):
        """Return the logits of `images` as float32 `[batch, num_classes]`, without gradient."""
        # training=False: a teacher in training mode drops units and moves its BatchNorm
        # statistics.
        return ops.stop_gradient(self.with_gradient(images)["logits"])

    def ask(self, inputs, layer_names=()):
        """Return what the teacher says of inputs, from one pass and without gradient.

        Args:
            inputs: as in a call.
            layer_names: names of layers, nested ones as `backbone/block_3`.

        Returns:
            `TeacherOutputs`: the logits by the name of the output, and each layer's output.

        Raises:
            ValueError: if the model has no such layer, or no graph to look into.
        """
        said = self.with_features(inputs, layer_names)
        features = {name: said[name] for name in layer_names}
        outputs = {self.output_names[0]: said["logits"]}
        return TeacherOutputs(outputs, features, self.class_maps)

    def output_shape(self, name):
        """Return the shape of a batch of an output, `None` where free."""
        del name  # It has one.
        return self.feature_shape(None)

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
            return {"logits": self._as_logits(self._ask(self._logits_model, images))}
        outputs = self._ask(self._feature_model(tuple(layer_names)), images)
        features = {name: outputs[name] for name in layer_names}
        return {"logits": self._as_logits(outputs["logits"]), **features}

    def feature_shape(self, layer_name):
        """Return the shape of a batch of a layer's output; of the logits for `None`."""
        if layer_name is None:
            known = getattr(self._logits_model, "outputs", None)
            return tuple(known[0].shape) if known else (None, self.num_classes)
        return tuple(self._feature_model((layer_name,)).output[layer_name].shape)

    def _ask(self, model, images):
        images = images if self.preprocess is None else self.preprocess(images)
        images = part_for(self.model, images)
        if not self.changes:
            return model(images, training=False)
        with keras.StatelessScope():
            return model(images, training=False)

    def _feature_model(self, layer_names):
        if layer_names not in self._feature_models:
            self._feature_models[layer_names] = feature_model(self._logits_model, layer_names)
        return self._feature_models[layer_names]

    def _as_logits(self, outputs):
        (outputs,) = keras.tree.flatten(outputs)
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
    def identity(self):
        """What is equal for teachers that say the same, whatever made them; can be hashed."""
        return id(self.model), self.head, str(self.class_map), id(self.preprocess)

    @property
    def minds_its_batch(self):
        """Whether an answer depends on a state, or needs a batch of one size."""
        inputs = getattr(self.model, "inputs", None)
        return bool(self.changes or (inputs and inputs[0].shape[0] is not None))

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


def load_teacher(path, *, head=None, image_shape=None, examples=None):
    """Load a `.keras` or `.h5` file as a `Teacher`, without running any code the file may carry.

    Args:
        path: a model saved by `model.save(...)`.
        head: as in `Teacher`.
        image_shape: as in `Teacher`.
        examples: as in `Teacher`.

    Returns:
        A `Teacher`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if Keras cannot load the file safely, or `Teacher` refuses the model.
    """
    model = load_model_file(path, "teacher")
    return Teacher(model, head=head, image_shape=image_shape, examples=examples)


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


def _input_shape(model, image_shape, examples):
    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) > 1:
            raise ValueError(
                f"The teacher must have one input. Received: {len(inputs)}. "
                "Wrap it in a model that takes one."
            )
        return tuple(inputs[0].shape)
    if image_shape is not None:
        return (None, *image_shape)
    return None if examples is None else (None, *np.shape(keras.tree.flatten(examples)[0])[1:])


def _checked_head(model, found, head):
    """Return what the teacher ends in: as its answers prove it, else as its owner says."""
    if head is not None:
        is_proved = found.name in _HEADS[1:] or found.said == "logits" or not found.within_0_and_1
        if found.name not in (None, head) and found.logits_model is not None and is_proved:
            raise ValueError(
                f"`head` must be what the teacher ends in. Received: head={head!r} for a model "
                f"that ends in {found.name}."
            )
        if head != "logits" and not found.within_0_and_1:
            raise ValueError(
                f"A teacher that ends in {head} must answer with probabilities. Received: answers "
                f"from {found.answers.min():.3g} to {found.answers.max():.3g}. Pass "
                "`head='logits'` if they are logits, or leave the last layer out."
            )
        return head
    if found.name is None and found.within_0_and_1:
        raise ValueError(
            f"It cannot be told whether the teacher {model.name} returns logits or independent "
            "probabilities. Say which: `Teacher(model, head='logits')` or `head='sigmoid'`."
        )
    if found.name is None:
        raise ValueError(
            f"The teacher {model.name} must end in logits, softmax or sigmoid. Received: a last "
            f"layer with a {found.said} whose answers go from {found.answers.min():.3g} to "
            f"{found.answers.max():.3g}. Leave out what comes after it, or pass `head='logits'` "
            "if these are logits."
        )
    if found.logits_model is None:
        form = "log(p)" if found.name == "softmax" else "log(p / (1 - p))"
        _say(
            model, found, f"cannot be taken off; its outputs are probabilities, read through {form}"
        )
    elif found.name == "logits" and found.said is None:
        _say(model, found, "does not say what it returns; its outputs are logits")
    return found.name


def _say(model, found, what):
    warnings.warn(
        f"The last layer of the teacher {model.name} {what}. Say so to silence this: "
        f"`Teacher(model, head={found.name!r})`.",
        stacklevel=5,
    )
