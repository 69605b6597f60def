"""Any classifier as a teacher of images as they are: other size, colours, scale or head."""

import keras
import numpy as np
from keras import ops

from keras_kd.teachers.ensemble import as_teacher
from keras_kd.teachers.teacher import Teacher

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # Blue, green, red.
# What a model may have been trained on, from pixels of 0 to 255. The last two are those of
# torchvision's and of Caffe's models.
SCALES = ("0..255", "0..1", "-1..1", "imagenet", "caffe")
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
            images = ops.image.resize(images, self.size, interpolation="bilinear", antialias=True)
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
    """Return a few training images, to try models on.

    Args:
        data: a `Data`.
    """
    return np.asarray(data.train.images[:_EXAMPLES])


def fitting_teacher(model, *, image_shape, scale="0..255", head=None, examples=None):
    """Return a `Teacher` (or an `Ensemble`) that answers raw pixels with one logit a class.

    A head of independent probabilities is read as a choice of one class: one sigmoid unit as
    two classes, `[0, z]`, which is the same at every temperature; several as
    `log sigmoid(z)`, their probabilities made to sum 1.

    Args:
        model: a `keras.Model`, a `Teacher`, or a list of several.
        image_shape: shape of one of the images, raw pixels.
        scale: one of `SCALES`: what the model was trained on.
        head: as in `Teacher`, for a model whose last layer does not say what it returns.
        examples: a batch of the images, to try the model on.

    Raises:
        ValueError: if the model is no classifier of images.
    """
    if isinstance(model, (list, tuple)):
        options = {"image_shape": image_shape, "scale": scale, "head": head, "examples": examples}
        each = [fitting_teacher(one, **options) for one in model]
        return each[0] if len(each) == 1 else as_teacher(each)
    if not isinstance(model, keras.Model):
        return as_teacher(model, image_shape=image_shape, examples=examples)
    check_scale(scale)
    _check_ends(model)
    wanted = _wanted_shape(model, image_shape)
    if scale in ("imagenet", "caffe") and wanted[2] != 3:
        raise ValueError(
            f"The scale {scale!r} is for colours. Received: a teacher of grey images. Name "
            "another scale."
        )
    options = {"image_shape": wanted, "examples": examples}
    if wanted != tuple(image_shape) or scale != "0..255":
        size = None if wanted[:2] == tuple(image_shape)[:2] else wanted[:2]
        options["preprocess"] = TeacherInput(size, wanted[2], scale)
    teacher = Teacher(model, head=head, **options)
    if not teacher.is_sigmoid:
        return teacher
    if examples is not None and "preprocess" in options:
        examples = options["preprocess"](examples)
    sigmoid = Teacher(model, head="sigmoid", image_shape=wanted, examples=examples)
    return Teacher(_of_one_choice(sigmoid, wanted), head="logits", **options)


def _check_ends(model):
    """Refuse a model that takes more than images, or returns more than their classes."""
    for ends, what in (("inputs", "input"), ("outputs", "output")):
        count = len(getattr(model, ends, None) or [None])
        if count > 1:
            raise ValueError(
                f"The teacher must have one {what}. Received: {count}. "
                f"Wrap it in a model that {'takes' if ends == 'inputs' else 'returns'} one."
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
    shape = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else tuple(image_shape)
    if len(shape) == 2:  # Grey, without an axis for it: Keras drops one of 1 by itself.
        shape = (*shape, 1)
    if len(shape) != 3 or shape[2] not in (None, 1, 3):
        raise ValueError(
            "The teacher must take images [height, width, 1 or 3 channels]. "
            f"Received: inputs of shape {shape}. Wrap it in a model that does."
        )
    return tuple(own or free for own, free in zip(shape, image_shape, strict=True))


def _of_one_choice(teacher, image_shape):
    """Return a model whose classes exclude each other, of a teacher that ends in sigmoid."""
    images = keras.Input(image_shape, name="image")
    (logits,) = teacher.ask_with_gradient(images).outputs.values()
    if logits.shape[-1] == 1:
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
    else:
        logits = ops.log_sigmoid(logits)
    return keras.Model(images, logits, name=teacher.model.name)
