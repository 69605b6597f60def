"""Any classifier as a teacher of data as they are: other size, colours, scale or head."""

import math

import keras
from keras import ops

from keras_kd.teachers.elsewhere import as_model
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.probes import inputs_of
from keras_kd.teachers.teacher import Teacher

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # Blue, green, red.
# What a model may have been trained on, from pixels of 0 to 255. The last two are those of
# torchvision's and of Caffe's models.
SCALES = ("0..255", "0..1", "-1..1", "imagenet", "caffe")
_OF_COLOURS = ("imagenet", "caffe")
_EXAMPLES = 8


@keras.saving.register_keras_serializable(package="keras_kd")
class TeacherInput(keras.layers.Layer):
    """Turns raw pixels into what a teacher was trained on: its size, colours and scale.

    Args:
        size: `(height, width)`, or `None` for the images' own.
        channels: 1 or 3.
        scale: one of `SCALES`.
    """

    def __init__(self, size, channels, scale="0..255", **kwargs):
        super().__init__(**{"trainable": False, **kwargs})
        self.size = None if size is None else tuple(size)
        self.channels, self.scale = channels, scale

    def call(self, images):
        images = ops.cast(images, "float32")
        if self.size is not None and tuple(images.shape[1:3]) != self.size:
            # Of larger images antialias changes nothing, and LiteRT cannot do it.
            smaller = any(
                own < given for own, given in zip(self.size, images.shape[1:3], strict=True)
            )
            images = ops.image.resize(
                images, self.size, interpolation="bilinear", antialias=smaller
            )
        if images.shape[-1] == 1 and self.channels == 3:
            images = ops.concatenate([images] * 3, axis=-1)
        elif images.shape[-1] == 3 and self.channels == 1:
            images = ops.image.rgb_to_grayscale(images)
        return self._scaled(images)

    def _scaled(self, images):
        if self.scale == "0..1":
            return images / 255
        if self.scale == "-1..1":
            return images / 127.5 - 1
        if self.scale == "imagenet":
            return (images / 255 - ops.array(_MEAN)) / ops.array(_STD)
        if self.scale == "caffe":
            return images[..., ::-1] - ops.array(_CAFFE_MEAN)
        return images

    def compute_output_shape(self, input_shape):
        size = input_shape[1:3] if self.size is None else self.size
        return (input_shape[0], *size, self.channels)

    def get_config(self):
        own = {"size": self.size, "channels": self.channels, "scale": self.scale}
        return {**super().get_config(), **own}


def check_scale(scale):
    """Refuse what is none of `SCALES`.

    Raises:
        ValueError: in one sentence.
    """
    if scale not in SCALES:
        raise ValueError(
            f"The teacher's scale must be one of {', '.join(SCALES)}. Received: scale={scale!r}."
        )


def some_of(data):
    """Return a few training examples as tensors, to try models on.

    Args:
        data: a `Data`.
    """
    return data.train.tensors(slice(_EXAMPLES))


def opened_teacher(given, data, *, scale="0..255", head=None):
    """Return the `Teacher` (or `Ensemble`) that answers examples of a `Data` with class logits.

    One of images is fitted to their size, colours and scale. A head of independent probabilities
    is read as a choice of one class: one sigmoid unit as two classes, `[0, z]`, which is the same
    at every temperature; several as `log sigmoid(z)`, their probabilities made to sum 1.

    Args:
        given: a `keras.Model`, the path of a model file, an estimator, a `Teacher`, or a list of
            several. A `Teacher` with a `preprocess`, and an `Ensemble`, are taken as they are:
            what this function returned once is returned at once.
        data: the `Data`.
        scale: one of `SCALES`: what the model was trained on.
        head: as in `Teacher`, for a model whose last layer does not say what it returns.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the model is no classifier of such examples.
    """
    check_scale(scale)
    if isinstance(given, (list, tuple)):
        each = [opened_teacher(one, data, scale=scale, head=head) for one in given]
        return each[0] if len(each) == 1 else Ensemble(each)
    is_fitted = isinstance(given, Ensemble) or (isinstance(given, Teacher) and given.preprocess)
    teacher = given if is_fitted else _fitted(given, data, scale, head)
    shapes = [teacher.output_shape(name) for name in teacher.output_names]
    if len(shapes) != 1 or len(shapes[0]) != 2 or teacher.head == "values":
        kind = "values" if "values" in teacher.heads.values() else "outputs"
        raise _no_classifier(f"{kind} of shape {', '.join(map(str, shapes))}")
    return teacher


def _fitted(given, data, scale, head):
    """Return the `Teacher` of a model, or one without a `preprocess`, fitted to the data."""
    is_teacher = isinstance(given, Teacher)
    model = given.model if is_teacher else as_model(given, examples=some_of(data))
    outputs = given.output_names if is_teacher else getattr(model, "outputs", None) or [None]
    if len(outputs) != 1:
        raise _no_classifier(f"{len(outputs)} outputs")
    preprocess = _preprocess_of(model, data, scale)
    examples = some_of(data) if preprocess is None else preprocess(some_of(data))
    teacher = given if is_teacher else Teacher(model, head=head, examples=examples)
    if teacher.is_sigmoid:
        told = {"class_map": teacher.class_map, "examples": examples}
        teacher = Teacher(_of_one_choice(teacher, examples), head="logits", **told)
    return teacher if preprocess is None else teacher.preprocessed(preprocess)


def _preprocess_of(model, data, scale):
    """Return what turns the data into what the model takes, `None` if they are the same."""
    if not data.is_images:
        if scale != SCALES[0]:
            raise ValueError(
                f"A scale is one of pixels. Received: scale={scale!r} and data that are no "
                "images. Leave it out, or give the teacher a `preprocess`."
            )
        return None
    shape = data.image_shape
    if _takes_rows(model, shape) and scale == SCALES[0]:
        return keras.layers.Flatten(name="flatten")
    wanted = _wanted_shape(model, shape)
    if wanted == shape and scale == SCALES[0]:
        return None
    if scale in _OF_COLOURS and wanted[2] != 3:
        raise ValueError(
            f"The scale {scale!r} is for colours. Received: a teacher of grey images. Name "
            "another scale."
        )
    return TeacherInput(None if wanted[:2] == shape[:2] else wanted[:2], wanted[2], scale)


def _takes_rows(model, image_shape):
    """Return whether a model takes images as rows of their pixels, as estimators do."""
    inputs = getattr(model, "inputs", None) or []
    return len(inputs) == 1 and tuple(inputs[0].shape[1:]) == (math.prod(image_shape),)


def at_every_scale(teacher, data):
    """Return the scale of a teacher's pixels, and `{scale: teacher}` as if it were another.

    Args:
        teacher: of `opened_teacher`. `{}` is returned for an `Ensemble`, and for one whose
            `preprocess` is its maker's.
        data: the `Data`; `{}` is returned for what is no images.
    """
    own = None if isinstance(teacher, Ensemble) else teacher.preprocess
    if own is None and isinstance(teacher, Teacher) and data.is_images:
        own = TeacherInput(None, data.image_shape[-1])
    if not isinstance(own, TeacherInput):
        return SCALES[0], {}
    return own.scale, {
        scale: teacher.preprocessed(TeacherInput(own.size, own.channels, scale))
        for scale in SCALES
        if own.channels == 3 or scale not in _OF_COLOURS
    }


def _no_classifier(received):
    return ValueError(
        f"The teacher must return one row of classes an example. Received: {received}. Wrap it in "
        "a model that does, or distil other tasks with `Distiller.fit`."
    )


class TeacherModel(keras.Model):
    """A teacher as a `keras.Model` from raw pixels to logits, to predict with.

    Args:
        teacher: a `Teacher` or an `Ensemble`, which is not tracked.
    """

    def __init__(self, teacher):
        super().__init__(name="teacher")
        self.teacher = teacher
        self.built = True

    def call(self, images):
        return self.teacher(images)

    def count_params(self):
        return sum(model.count_params() for model in self.teacher.models)


def _wanted_shape(model, image_shape):
    """Return the shape of one image as the model takes it; free sizes are the images' own."""
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) > 1:
        raise ValueError(
            f"The teacher must have one input. Received: {len(inputs)}. Wrap it in a model that "
            "takes one."
        )
    shape = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else tuple(image_shape)
    if len(shape) == 2:  # Grey, without an axis for it: Keras drops one of 1 by itself.
        shape = (*shape, 1)
    if len(shape) != 3 or shape[2] not in (None, 1, 3):
        raise ValueError(
            "The teacher must take images [height, width, 1 or 3 channels]. "
            f"Received: inputs of shape {shape}. Wrap it in a model that does."
        )
    return tuple(own or free for own, free in zip(shape, image_shape, strict=True))


def _of_one_choice(teacher, examples):
    """Return a model whose classes exclude each other, of a teacher that ends in sigmoid."""
    known = inputs_of(teacher.model)
    if known is None:
        known = keras.tree.map_structure(lambda each: keras.KerasTensor(each.shape), examples)
    inputs = keras.tree.map_structure(
        lambda each: keras.Input(each.shape[1:], dtype=each.dtype, name=each.name), known
    )
    (logits,) = teacher.ask_with_gradient(inputs).outputs.values()
    if logits.shape[-1] == 1:
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
    else:
        logits = ops.log_sigmoid(logits)
    return keras.Model(inputs, logits, name=teacher.model.name)
