"""What the integers of each layer alone do to a student's answers."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_kd._common.backend import require_extra
from keras_kd._common.console import Table
from keras_kd._common.files import written_whole
from keras_kd._common.looks import LOOKS
from keras_kd._common.pictures import label, labels, plain_text
from keras_kd._common.typing import PathLike
from keras_kd.quantize.calibration import calibration_images
from keras_kd.quantize.kernels import integer_kernels, takes_words
from keras_kd.quantize.rewriting import Names
from keras_kd.quantize.students import graph_to_quantise, kernel_names

_BITS = {"int8": 8, "int4": 4}
_LOOKS = {"int8": LOOKS["student"], "int4": LOOKS["student_alone"]}
_BATCH_SIZE = 100
_MOST_EXAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class LayerSensitivity:
    """What the integers of one layer do, while all others compute in float32.

    Args:
        name: of the layer, as `prepare` takes it.
        num_weights: of its matrices or filters.
        error: by `"int8"` and, where the file has such weights, `"int4"`: the root mean square of
            what is added to the logits, as a share of their own about their mean.
        points_lost: by the same, accuracy in points; `None` without labels.
    """

    name: str
    num_weights: int
    error: dict[str, float]
    points_lost: dict[str, float] | None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Sensitivity:
    """What `sensitivity` found: a table where it is shown, a picture by `draw`.

    Args:
        model: name of the student.
        layers: a `LayerSensitivity` each, in the student's order.
        accuracy: of the float student on the examples; `None` without labels.
        num_examples: that it was found on.
    """

    model: str
    layers: list[LayerSensitivity]
    accuracy: float | None
    num_examples: int

    def __repr__(self):
        return "\n".join(line.plain for line in self._table().lines(None)).rstrip()

    def _repr_html_(self):
        return self._table().as_html()

    def draw(self, path: PathLike) -> None:
        """Draw the error of each layer, a row each, as a PNG.

        Args:
            path: the file.

        Raises:
            ImportError: if matplotlib is missing (extra `report`).
        """
        require_extra("matplotlib", "report", "A picture")
        with plain_text(), written_whole(path) as unfinished:
            self._figure().savefig(unfinished, dpi=110)

    def _table(self):
        has_labels = self.accuracy is not None
        lost = ["int8 lost", "int4 lost"] if has_labels else []
        told = "Error: of the logits, in % of their spread."
        if has_labels:
            told += f" Lost: points of accuracy from {100 * self.accuracy:.2f} %."
        table = Table(
            f"{self.model}: the integers of one layer at a time, on {self.num_examples:,} examples",
            ["", "weights", "int8 error", "int4 error", *lost],
            caption=told,
        )
        for each in self.layers:
            figures = [
                f"{factor * found[width]:{form}}" if width in found else ""
                for found, factor, form in (
                    (each.error, 100, ".2f"),
                    *([(each.points_lost, 1, "+.2f")] if has_labels else []),
                )
                for width in _BITS
            ]
            table.add_row(each.name, f"{each.num_weights:,}", *figures)
        return table

    def _figure(self):
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter

        figure = Figure(figsize=(8, 1.5 + 0.32 * len(self.layers)), layout="constrained")
        axes = figure.subplots()
        places = range(len(self.layers))
        for width, look in _LOOKS.items():
            errors = [100 * each.error.get(width, math.nan) for each in self.layers]
            axes.plot(errors, places, look.marker, color=look.colour, label=width)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(places, labels(each.name for each in self.layers))
        axes.invert_yaxis()
        axes.set_xlabel("error of the logits, in % of their spread")
        axes.set_title(f"{label(self.model)}: the integers of one layer at a time")
        axes.legend()
        axes.grid(alpha=0.3)
        return figure


def sensitivity(
    student: keras.Model, data: Any, *, input_range: tuple[float, float] = (0.0, 255.0)
) -> Sensitivity:
    """Return what the integers of each layer alone do to the answers of a student.

    One layer after the other has integer weights, and takes its inputs on a grid of 256 values,
    while all else computes in float32:

        error = sqrt(mean (logits' - logits)^2 / mean (logits - their mean)^2)

    The squares of these errors add up, as noise does that comes from many sources (Pandey et al.
    2023, section 3.1). So a layer that stands out is one to keep in float32, and those with little
    at int4 are the ones to write in half the bytes:
    `prepare(..., keep_float=["conv_1"], weights={"hidden_1": "int4"})`.

    Args:
        student: as in `prepare`.
        data: examples such as the student was trained on, that no choice was made on yet: a
            `Split`, a pair of images and labels, or images alone. Up to 2,000 are used.
        input_range: lowest and highest pixel.

    Returns:
        A `Sensitivity`, which shows itself as a table.

    Raises:
        ValueError: if the student has no integer twin, or the examples are not such as it takes.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    student = kd.models.mlp([32, 16], image_shape=data.image_shape)
    found = kd.quantize.sensitivity(student, data.validation)
    print(found)
    worst = max(found.layers, key=lambda layer: layer.error["int4"])
    twin = kd.quantize.prepare(student, weights={"hidden_1": "int4"}, calibration=data.train)
    ```

    References:
        N. P. Pandey, M. Nagel, M. van Baalen, Y. Huang, C. Patel, T. Blankevoort, A Practical Mixed
        Precision Algorithm for Post-Training Quantization, 2023, section 3.1.
    """
    graph, tables = graph_to_quantise(student)
    images, classes = _examples(data, graph.inputs[0].shape[1:], input_range, tables)
    return _Measuring(student.name, graph, images).found(classes)


class _Measuring:
    """Computes a student call by call, with integers in one layer at a time.

    Args:
        name: of the student.
        graph: its `Graph`.
        images: `[n, ...]`.
    """

    def __init__(self, name, graph, images):
        self.name, self.graph = name, graph
        names = Names(graph)
        kernels = kernel_names(graph, names)
        # By its name, the calls of each layer with integer weights.
        self.calls = {
            each: [call for call in graph.calls if names.of(call) == each] for each in kernels
        }
        self.batches = [
            tf.convert_to_tensor(images[first : first + _BATCH_SIZE])
            for first in range(0, len(images), _BATCH_SIZE)
        ]
        self.ends = self._ends()
        # By name and width, where the file has such weights.
        self.twins = {}
        for each in kernels:
            for width, bits in _BITS.items():
                pairs = integer_kernels(self.calls[each][0].operation, None, bits, each)
                if any(twin.weight_bits == bits for twin, _ in pairs):
                    self.twins[each, width] = self._twin(each, pairs)

    def found(self, classes):
        """Return the `Sensitivity`.

        Args:
            classes: labels, `[n, ...]`, or `None`.
        """
        plain, others = [], {key: [] for key in self.twins}
        for batch in self.batches:
            values = self._values(batch)
            plain.append(self._logits(values))
            for key in self.twins:
                others[key].append(self._logits(self._with_integers(values, *key)))
        plain = np.concatenate(plain)
        others = {key: np.concatenate(parts) for key, parts in others.items()}
        signal = max(float(np.var(plain)), np.finfo("float32").tiny)

        def error(logits):
            return math.sqrt(float(np.mean((logits - plain) ** 2)) / signal)

        def accuracy(logits):
            return float(np.mean(np.argmax(logits, -1) == classes))

        def lost(logits):
            return 100 * (accuracy(plain) - accuracy(logits))

        layers = []
        for name in self.calls:
            own = {width: others[name, width] for width in _BITS if (name, width) in others}
            errors = {width: error(logits) for width, logits in own.items()}
            points = None if classes is None else {width: lost(own[width]) for width in own}
            layers.append(LayerSensitivity(name, self._num_weights(name), errors, points))
        share = None if classes is None else accuracy(plain)
        return Sensitivity(self.name, layers, share, len(plain))

    def _values(self, batch):
        values = {id(self.graph.inputs[0]): batch}
        for call in self.graph.calls:
            self._compute(call, call.operation, values)
        return values

    def _with_integers(self, values, name, width):
        """Return the values with integers in one layer; what comes before it stays as it is."""
        values, begun = dict(values), False
        for call in self.graph.calls:
            is_own = any(call is each for each in self.calls[name])
            begun = begun or is_own
            if is_own:
                self._compute(call, self.twins[name, width], values)
            elif begun:
                self._compute(call, call.operation, values)
        return values

    def _compute(self, call, operation, values):
        args, kwargs = keras.tree.map_structure(
            lambda x: values[id(x)] if isinstance(x, keras.KerasTensor) else x,
            (call.args, call.kwargs),
        )
        outputs = zip(
            keras.tree.flatten(call.outputs),
            keras.tree.flatten(operation(*args, **kwargs)),
            strict=True,
        )
        values.update((id(symbolic), value) for symbolic, value in outputs)

    def _logits(self, values):
        return keras.ops.convert_to_numpy(values[id(self.graph.outputs[0])]).astype("float64")

    def _ends(self):
        """Return the lowest and the highest value that each layer takes, at least 0 between."""
        ends = dict.fromkeys(self.calls, (0.0, 0.0))
        for batch in self.batches:
            values = self._values(batch)
            for name, calls in self.calls.items():
                for call in calls:
                    low, high = ends[name]
                    value = values[id(call.args[0])]
                    new = float(tf.reduce_min(value)), float(tf.reduce_max(value))
                    ends[name] = min(low, new[0]), max(high, new[1])
        return ends

    def _twin(self, name, pairs):
        """Return what computes a layer by `integer_kernels` of it, on inputs on a grid."""
        layer, (low, high) = self.calls[name][0].operation, self.ends[name]
        # What the file does not compute together with the layer, its twin does not have.
        own, given = (getattr(each, "activation", None) for each in (layer, pairs[-1][0]))

        def compute(x, *args, **kwargs):
            if high > low and not takes_words(layer):
                x = tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=8)
            for twin, weights in pairs:
                if not twin.built:
                    twin.build(x.shape)
                    twin.set_weights(weights)
                x = twin(x)
            return x if own is given else own(x)

        return compute

    def _num_weights(self, name):
        weights = self.calls[name][0].operation.weights
        return sum(math.prod(each.shape) for each in weights if len(each.shape) > 1)


def _examples(data, shape, input_range, tables):
    """Return up to 2,000 images, evenly spread, and their labels, if there are any."""
    classes = getattr(data, "labels", None)
    images = getattr(data, "images", data)
    if isinstance(data, tuple) and len(data) == 2:
        images, classes = data
    images = np.asarray(images)
    if images.ndim == 0:
        raise ValueError(
            f"`data` must be a Split, images, or a tuple of images and labels. Received: {data!r}."
        )
    chosen = np.linspace(0, len(images) - 1, min(len(images), _MOST_EXAMPLES)).astype(int)
    if classes is not None and len(classes) != len(images):
        raise ValueError(
            "Labels must be one for each example. Received: "
            f"{len(classes)} beside {len(images)} examples."
        )
    parts = [
        calibration_images(images[chosen[first : first + 500]], shape, input_range, tables)
        for first in range(0, len(chosen), 500)
    ]
    images = np.concatenate(parts) if parts else calibration_images(images, shape, input_range)
    return images, None if classes is None else np.asarray(classes)[chosen]
