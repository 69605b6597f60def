"""The teacher: any trained model as one frozen function from inputs to logits or values."""

import copy
import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_kd._common.reprs import call_of
from keras_kd._common.structures import by_name, output_names, part_for
from keras_kd._common.typing import PathLike, Shape, Structure
from keras_kd.teachers.checks import (
    check_model,
    checked_class_maps,
    checked_declared,
    checked_head,
    checked_outputs,
    the_only,
)
from keras_kd.teachers.elsewhere import as_model, fingerprints_of, head_known, load_any
from keras_kd.teachers.features import feature_model
from keras_kd.teachers.heads import Answers
from keras_kd.teachers.opening import symbolic_output
from keras_kd.teachers.outputs import TeacherOutputs
from keras_kd.teachers.probes import inputs_of, shapes_of_first_call, try_out

# The smallest normal float32: log of it is -87.3, below any logit gap a float32 softmax shows.
_TINY = float(np.finfo(np.float32).tiny)
# The largest float32 below 1.
_BELOW_ONE = 1 - 2.0**-24


class Teacher:
    """A frozen model that answers with logits, whatever its last layers are, or with values.

    A model that ends in softmax or sigmoid gives away less than its logits; a distillation loss
    needs them. So the head is opened: the layers up to the last activation are used, sharing the
    model's weights. It counts as opened if the activation gives the model's own answers to a few
    inputs. A head that cannot be opened is read through `log(p)`, which equals the logits up to a
    constant that a softmax ignores (for sigmoid, through `log(p / (1 - p))`). All heads of a model
    of several outputs are opened together: it runs once, whatever they are. Values (of a
    regression, an embedding, boxes) are taken as they are.

    The model is never changed: it runs with `training=False`, under `stop_gradient`, and is not
    tracked by what uses it, so that it is in no checkpoint and its `trainable` flags stay as
    they are. One that would change itself, such as a stateful RNN, answers each batch from the
    state that it has.

    Args:
        model: a built `keras.Model`, of any inputs, whose outputs are a tensor
            `[batch, num_classes]` (or `[batch, ..., num_classes]`, for a class at every place or
            time), or a list or dict of such. Or what answers so elsewhere: the path of a
            `.keras`, `.h5`, `.onnx` or `.tflite` file or of a SavedModel; a fitted classifier
            with `predict_proba`; a function from a batch of arrays (or a dict of such) to an
            array (or a dict), with a `name` and `examples`.
        head: what an output of the model is: `"logits"`, `"softmax"`, `"sigmoid"` or `"values"`;
            of several, a dict by their names, or one word for all. What it does not say is found
            out from the model's answers (with a warning where the last layer does not say it),
            or refused if they do not tell. Values are never found out.
        image_shape: shape of one input, for a model that does not know it (a subclassed one that
            was never called).
        preprocess: what turns the student's inputs into the model's, such as
            `keras.layers.Resizing(224, 224)`, or a function of a dict that returns another;
            called on each batch. Without it, the model is given of a dict what it has inputs for,
            by name.
        class_map: for each class of the teacher, in its order, the student's class; for a
            teacher that knows fewer classes, or knows them in another order. The student is then
            compared on those classes alone. Of several outputs, a dict by their names.
        examples: a batch of inputs as the teacher will be given them, to try the model on; made
            up if `None`. Pass some where made-up ones are refused.
        outputs: names of the outputs that are wanted; all if `None`, none if empty (for what is
            inside the model alone). Nothing is asked about the others.
        name: what the answers of a function are known by. Another version of it needs another
            name: soft labels of the former are told from it by that alone.

    Attributes:
        output_names: names of the outputs: the keys of a model that returns a dict, else Keras's.
        heads: `"logits"`, `"softmax"`, `"sigmoid"` or `"values"` by the name of the output.
        class_maps: `class_map` by the name of the output, for those that have one.
        num_classes: number of logits or values; by the name of the output, if there are several.
        changes: paths of the variables that a plain call of the model would change.
        input_shape: shape of a batch of inputs, `None` where free, in their structure; `None`
            itself if `preprocess` takes inputs of any shape.
        models: the `keras.Model`, in a list.

    Raises:
        ValueError: if the model's outputs are of another kind, its weights or its answers
            hold NaN or infinity, or it cannot be told what an output is.

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

    One that reads words and returns a class and a length:

    ```python
    import keras
    import numpy as np
    import keras_kd as kd

    ids = keras.Input((8,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(ids))
    outputs = {
        "kind": keras.layers.Dense(3, activation="softmax")(x),
        "length": keras.layers.Dense(1)(x),
    }
    teacher = kd.Teacher(keras.Model({"ids": ids}, outputs), head={"length": "values"})
    assert teacher.heads == {"kind": "softmax", "length": "values"}
    said = teacher({"ids": np.ones((2, 8), "int32"), "of_the_student": np.ones((2, 1))})
    assert said["kind"].shape == (2, 3) and said["length"].shape == (2, 1)
    ```
    """

    def __init__(
        self,
        model: keras.Model | PathLike | Callable[..., Any] | Any,
        *,
        head: str | Mapping[str, str] | None = None,
        image_shape: Sequence[int | None] | None = None,
        preprocess: Callable[..., Any] | None = None,
        class_map: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
        examples: Structure | None = None,
        outputs: Sequence[str] | None = None,
        name: str | None = None,
    ):
        taken = examples
        if preprocess is not None and examples is not None:
            taken = preprocess(examples)
        model = as_model(model, examples=taken, name=name)
        check_model(model)
        self.model = model
        self.models = [model]
        self.preprocess = preprocess
        if examples is not None:
            examples = self._taken(examples)
        shape = _input_shape(model, image_shape, examples)
        self.input_shape = shape if preprocess is None else None
        image_shape = None if inputs_of(model) is not None else image_shape
        trial = try_out(model, examples=examples, image_shape=image_shape, what="teacher")
        self._all_names = output_names(model, trial.outputs)
        self.output_names = checked_outputs(outputs, self._all_names)
        declared = checked_declared(head, self._all_names)
        if len(self._all_names) == 1 and not any(declared.values()):
            declared = dict.fromkeys(self._all_names, head_known(model))
        answers = Answers(model, trial, self.output_names, what="teacher")
        self.heads, opened = {}, {}
        for name in self.output_names:
            self.heads[name], logits_model = _head(answers, name, declared[name])
            opened |= {} if logits_model is None else {name: logits_model}
        self._opened = set(opened)
        self._logits_model = answers.opened(opened) if opened else model
        self._feature_models = {}
        shapes = {name: each.shape for name, each in answers.finite.items()}
        sizes = {name: shape[-1] for name, shape in shapes.items()}
        self._shapes = {name: self._shape(name, shape) for name, shape in shapes.items()}
        self.num_classes = self._of_one(sizes)
        self.class_maps = checked_class_maps(class_map, self.output_names, sizes, self.heads)
        self.changes = trial.changed

    def __repr__(self):
        several = len(self.output_names) != 1
        class_map = self.class_maps if several else self.class_map
        made_with = {"class_map": class_map or None, "preprocess": self.preprocess}
        return call_of(
            self,
            model=self.model.name,
            head=self.heads if several else self.head,
            num_classes=self.num_classes,
            input_shape=self.input_shape,
            **{name: value for name, value in made_with.items() if value is not None},
        )

    def __call__(self, inputs: Structure) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return the logits or values as float32 `[batch, num_classes]`, without gradient.

        Args:
            inputs: a batch as the student takes it. Of a dict, each teacher takes what it has
                inputs for.

        Returns:
            A tensor; of several outputs, a dict by their names.
        """
        return self._of_one(self.ask(inputs).outputs)

    def ask(self, inputs: Structure, layer_names: Sequence[str] = ()) -> TeacherOutputs:
        """Return what the teacher says of inputs, from one pass and without gradient.

        Args:
            inputs: as in a call.
            layer_names: names of layers, nested ones as `backbone/block_3`.

        Returns:
            `TeacherOutputs`: the logits or values by the name of the output, and each layer's
            output.

        Raises:
            ValueError: if the model has no such layer, or no graph to look into.
        """
        # training=False: a teacher in training mode drops units and moves its BatchNorm
        # statistics.
        said = self.ask_with_gradient(inputs, layer_names)
        outputs, features = (
            {name: ops.stop_gradient(each) for name, each in tensors.items()}
            for tensors in (said.outputs, said.features)
        )
        return dataclasses.replace(said, outputs=outputs, features=features)

    def ask_with_gradient(
        self, inputs: Structure, layer_names: Sequence[str] = ()
    ) -> TeacherOutputs:
        """Return what `ask` does, with a gradient by `inputs`, for who makes them.

        Args:
            inputs: as in a call.
            layer_names: as in `ask`.
        """
        features = {}
        if layer_names:
            found = self._run(self._feature_model(tuple(layer_names)), inputs)
            outputs, features = found["logits"], {name: found[name] for name in layer_names}
        else:
            outputs = self._run(self._logits_model, inputs)
        outputs = self._by_name(outputs)
        logits = {name: self._as_logits(name, outputs[name]) for name in self.output_names}
        return TeacherOutputs(logits, features, self.class_maps)

    def preprocessed(self, preprocess: Callable[..., Any]) -> "Teacher":
        """Return the same teacher, opened as it is, with another `preprocess`.

        Args:
            preprocess: as in `Teacher`.
        """
        other = copy.copy(self)
        other.preprocess, other.input_shape = preprocess, None
        return other

    def output_shape(self, name: str) -> Shape:
        """Return the shape of a batch of an output, `None` where free."""
        return self._shapes[name]

    def feature_shape(self, layer_name: str | None) -> Shape:
        """Return the shape of a batch of a layer's output; of the only logits for `None`."""
        if layer_name is None:
            return self.output_shape(the_only(self.output_names, "output_shape"))
        return tuple(self._feature_model((layer_name,)).output[layer_name].shape)

    def _taken(self, inputs):
        """Return what the model takes of the student's inputs."""
        inputs = inputs if self.preprocess is None else self.preprocess(inputs)
        inputs, wanted = part_for(self.model, inputs), inputs_of(self.model)
        if not isinstance(wanted, dict) or isinstance(inputs, dict):
            return inputs
        if len(wanted) > 1 or keras.tree.is_nested(inputs):  # Keras would go by their order.
            raise ValueError(
                f"The teacher {self.model.name} takes its inputs by name: {', '.join(wanted)}. "
                f"Received: a {type(inputs).__name__}. Give it a dict: "
                "`Teacher(model, preprocess=function)`."
            )
        return dict.fromkeys(wanted, inputs)

    def _run(self, model, inputs):
        inputs = self._taken(inputs)
        if not self.changes:
            return model(inputs, training=False)
        with keras.StatelessScope():
            return model(inputs, training=False)

    def _feature_model(self, layer_names):
        if layer_names not in self._feature_models:
            self._feature_models[layer_names] = feature_model(self._logits_model, layer_names)
        return self._feature_models[layer_names]

    def _shape(self, name, answered):
        """Return the shape of a batch of an output, of which the model has answered one."""
        if getattr(self._logits_model, "outputs", None):
            return tuple(self._by_name(symbolic_output(self._logits_model))[name].shape)
        return (*[None] * (len(answered) - 1), answered[-1])

    def _by_name(self, outputs):
        flat = keras.tree.flatten(outputs)
        if len(flat) == 1:
            return {self._all_names[0]: flat[0]}
        return by_name(outputs, self._all_names, what="The teacher's outputs")

    def _of_one(self, by_name):
        """Return the value of the only output; of several, the dict."""
        return by_name[self.output_names[0]] if len(self.output_names) == 1 else by_name

    def _as_logits(self, name, outputs):
        outputs = ops.cast(outputs, "float32")
        if name not in self._opened and self.heads[name] == "softmax":
            outputs = ops.log(ops.maximum(outputs, _TINY))
        elif name not in self._opened and self.heads[name] == "sigmoid":
            # NOTE: float32 cannot hold a probability between 1 - 6e-8 and 1, so a logit read
            # this way ends at 16.6.
            outputs = ops.clip(outputs, _TINY, _BELOW_ONE)
            outputs = ops.log(outputs) - ops.log1p(-outputs)
        return outputs

    @property
    def head(self) -> str:
        """What the only output is: `"logits"`, `"softmax"`, `"sigmoid"` or `"values"`."""
        return self.heads[the_only(self.output_names, "heads")]

    @property
    def class_map(self) -> tuple[int, ...] | None:
        """For each class of the only output the student's class, or `None`."""
        return self.class_maps.get(the_only(self.output_names, "class_maps"))

    @property
    def is_sigmoid(self) -> bool:
        """Whether the classes of the only output are independent labels."""
        return self.head == "sigmoid"

    @property
    def identity(self) -> tuple[Any, ...]:
        """What is equal for teachers that say the same, whatever made them; can be hashed."""
        heads = tuple(self.heads.items())
        return id(self.model), heads, str(self.class_maps), id(self.preprocess)

    @property
    def minds_its_batch(self) -> bool:
        """Whether an answer depends on a state, or needs a batch of one size."""
        inputs = getattr(self.model, "inputs", None) or []
        return bool(self.changes) or any(each.shape[0] is not None for each in inputs)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights as they are now, heads, class maps and `preprocess` layer."""
        several = len(self._all_names) > 1
        heads = str(sorted(self.heads.items())) if several else self.head
        digest = hashlib.sha256(heads.encode())
        for name in sorted(self.class_maps):
            digest.update(name.encode() if several else b"")
            digest.update(str([int(each) for each in self.class_maps[name]]).encode())
        if isinstance(self.preprocess, keras.layers.Layer):
            config = self.preprocess.get_config()
            # Keras counts names up: the second layer of a program is `resizing_1`.
            config |= {"name": re.sub(r"_\d+$", "", config["name"])}
            digest.update(repr(config).encode())
        for weight in self.model.weights:
            value = np.ascontiguousarray(weight.numpy())
            digest.update(f"{value.dtype} {value.shape}".encode())
            digest.update(value.tobytes())
        for each in fingerprints_of(self.model):
            digest.update(each.encode())
        return digest.hexdigest()


def load_teacher(path: PathLike, *, signature: str | None = None, **options: Any) -> Teacher:
    """Load a model file as a `Teacher`, without running Python that the file may carry.

    Args:
        path: a `.keras` or `.h5` file, an `.onnx` or `.tflite` file, or the folder of a
            SavedModel. What images such a file wants with their colours first it gets so.
        signature: of a SavedModel or a `.tflite` file: which of several.
        **options: the other arguments of `Teacher`, such as `head`, `preprocess` or `examples`.

    Returns:
        A `Teacher`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be loaded safely, or `Teacher` refuses the model.
        ImportError: if its runtime is not installed (extras `onnx` and `export`).
    """
    return Teacher(load_any(path, signature=signature), **options)


def _head(answers, name, declared):
    """Return what an output is, and a model to its logits where an activation was taken off."""
    if declared == "values":
        return "values", None
    several = len(answers.names) > 1
    found = answers.head(name)
    head = checked_head(answers.model, found, declared, output=name if several else None)
    is_opened = head == found.name and head != "logits"
    return head, found.logits_model if is_opened else None


def _input_shape(model, image_shape, examples):
    """Return the shape of a batch of the only input, or the shapes in the inputs' structure."""
    inputs = inputs_of(model)
    if inputs is not None:
        if len(keras.tree.flatten(inputs)) == 1:
            return tuple(model.inputs[0].shape)
        return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), inputs)
    if image_shape is not None:
        return (None, *image_shape)
    if examples is not None:
        return keras.tree.map_structure(lambda each: (None, *np.shape(each)[1:]), examples)
    return shapes_of_first_call(model)
