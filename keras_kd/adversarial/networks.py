"""The players beside the student: generators of images, discriminators of features."""

import math
from collections.abc import Sequence

import keras
from keras import layers, ops

from keras_kd._common.checks import check_integer
from keras_kd.teachers.heads import head_of

# Slope of the leaky ReLU in generators and discriminators (A. Radford et al., Unsupervised
# Representation Learning with DCGAN, 2016, section 3).
_SLOPE = 0.2


def generator(
    image_shape: Sequence[int] = (28, 28, 1),
    *,
    width: int = 16,
    latent_size: int = 100,
    pixel_mean: float = 0.1307,
    pixel_std: float = 0.3081,
    name: str = "generator",
) -> keras.Model:
    """Build a network from noise to images: a dense layer, then two doublings of the size.

    Its images leave a normalisation without learned scale: over a batch each channel has the
    given mean and standard deviation, whatever the layers before it do. What then lies outside
    0 to 255 is cut off, so that the teacher is asked about pixels that an image can have.

    Args:
        image_shape: `(height, width, channels)` of one image; height and width divisible by 4,
            such as 28x28x1, 32x32x1, 32x32x3.
        width: channels of the last hidden layer; the one before has twice as many. 16 suits
            28x28x1, the papers have 64.
        latent_size: length of a noise vector.
        pixel_mean: mean of the pixels, as a share of 255.
        pixel_std: standard deviation of the pixels, as a share of 255. The defaults are MNIST's;
            0.2860 and 0.3530 are Fashion-MNIST's.
        name: name of the model.

    Returns:
        A `keras.Model` from `latents` `[batch, latent_size]` to raw pixels, 0 to 255.

    Raises:
        ValueError: if the size of the images cannot be made.

    Example:

    ```python
    import keras_kd as kd

    generator = kd.adversarial.generator((32, 32, 3), width=8)
    assert generator.output_shape == (None, 32, 32, 3)
    ```

    References:
        H. Chen et al., Data-Free Learning of Student Networks, 2019, section 4.1, and the
        authors' code.
    """
    height, breadth, channels = _checked_image_shape(image_shape)
    check_integer("width", width, minimum=1)
    check_integer("latent_size", latent_size, minimum=1)
    latents = keras.Input((latent_size,), name="latents")
    x = layers.Dense(height // 4 * (breadth // 4) * 2 * width, name="dense")(latents)
    x = layers.Reshape((height // 4, breadth // 4, 2 * width), name="maps")(x)
    x = layers.BatchNormalization(name="normalize")(x)
    for number, filters in enumerate((2 * width, width), start=1):
        x = layers.UpSampling2D(name=f"double_{number}")(x)
        # No bias: the normalisation takes the mean away.
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{number}")(x)
        x = layers.BatchNormalization(name=f"normalize_{number}")(x)
        x = layers.LeakyReLU(_SLOPE, name=f"relu_{number}")(x)
    x = layers.Conv2D(channels, 3, padding="same", activation="tanh", name="image")(x)
    x = layers.BatchNormalization(center=False, scale=False, name="normalize_image")(x)
    x = layers.Rescaling(255 * pixel_std, offset=255 * pixel_mean, name="rescale")(x)
    return keras.Model(latents, layers.ReLU(255.0, name="pixels")(x), name=name)


def gaussian_noise(
    image_shape: Sequence[int] = (28, 28, 1),
    *,
    pixel_mean: float = 0.1307,
    pixel_std: float = 0.3081,
    name: str = "gaussian_noise",
) -> keras.Model:
    """Build a generator that does not learn: every pixel is noise of the given mean and deviation.

    The control of every data-free run: what a student learns from its teacher's answers to noise.

    Args:
        image_shape: `(height, width, channels)` of one image.
        pixel_mean: mean of the pixels, as a share of 255.
        pixel_std: standard deviation of the pixels, as a share of 255.
        name: name of the model.

    Returns:
        A `keras.Model` without weights from `latents` to images.
    """
    latents = keras.Input((math.prod(image_shape),), name="latents")
    x = layers.Rescaling(255 * pixel_std, offset=255 * pixel_mean, name="pixels")(latents)
    return keras.Model(latents, layers.Reshape(tuple(image_shape), name="image")(x), name=name)


def discriminator(
    feature_shape: Sequence[int] = (10,),
    *,
    hidden: Sequence[int] = (64, 64),
    num_classes: int = 1,
    spectral_normalization: bool = True,
    name: str = "discriminator",
) -> keras.Model:
    """Build a network that scores features: high for the teacher's, low for the student's.

    Vectors go through dense layers, feature maps through 3x3 convolutions of stride 2 and the
    mean over places. `discriminator((10,), hidden=(), spectral_normalization=False)` is the
    fully connected layer 10 -> 1 of the plain form.

    Args:
        feature_shape: shape of one example's features: `(units,)`, or `(height, width,
            channels)`.
        hidden: units or channels of the hidden layers; few, or it wins too soon.
        num_classes: with 1, one score an example; with more, one a class, of which the one of
            the example's class counts (class-conditional).
        spectral_normalization: divide each layer's weights by their largest singular value, so
            that the score cannot rise faster than the features change.
        name: name of the model.

    Returns:
        A `keras.Model` from `features` to `scores` of shape `[batch, num_classes]`, in float32
        under any dtype policy.

    Raises:
        ValueError: if the features are neither vectors nor maps.

    References:
        T. Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018,
        section 2.
    """
    feature_shape = tuple(feature_shape)
    if len(feature_shape) not in (1, 3) or None in feature_shape:
        raise ValueError(
            "A discriminator judges (units,) or (height, width, channels), of known size. "
            f"Received: feature_shape={feature_shape}."
        )

    def bounded(layer):
        if not spectral_normalization:
            return layer
        return SpectralNormalization(layer, name=layer.name, dtype="float32")

    options = {"dtype": "float32"}
    features = x = keras.Input(feature_shape, name="features", **options)
    for number, units in enumerate(hidden, start=1):
        if len(feature_shape) == 1:
            layer = layers.Dense(units, name=f"hidden_{number}", **options)
        else:
            # No bias: TensorFlow's graph optimiser trips over fusing it with a leaky ReLU.
            layer = layers.Conv2D(
                units,
                3,
                strides=2,
                padding="same",
                use_bias=False,
                name=f"hidden_{number}",
                **options,
            )
        x = layers.LeakyReLU(_SLOPE, name=f"relu_{number}", **options)(bounded(layer)(x))
    if len(feature_shape) == 3:
        x = layers.GlobalAveragePooling2D(name="mean", **options)(x)
    found = bounded(layers.Dense(num_classes, name="scores", **options))(x)
    return keras.Model(features, found, name=name)


@keras.saving.register_keras_serializable(package="keras_kd")
class SpectralNormalization(layers.SpectralNormalization):
    """Keras's layer in half of its operations, since a step of a discriminator is made of them.

    The same power iteration, u <- u W^T W / |u W^T W| and sigma = |u W^T W| / |u W^T|; what is
    left out is the branch for a kernel of zeros, which has no largest singular value above 0.

    Args:
        layer: the layer whose kernel is divided by sigma in each call in training.
        power_iterations: iterations a call.
    """

    def call(self, inputs, training=False):
        if training:
            vector_u, kernel = self.normalized_weights()
            self.vector_u.assign(vector_u)
            self.kernel.assign(kernel)
        return self.layer(inputs)

    def normalized_weights(self):
        """Return the new u and the kernel divided by sigma."""
        weights = ops.reshape(self.kernel, [-1, self.kernel.shape[-1]])
        vector_u = self.vector_u.value
        for _ in range(self.power_iterations):
            vector_v = ops.matmul(weights, ops.reshape(vector_u, [-1, 1]))
            product = ops.matmul(ops.reshape(vector_v, [1, -1]), weights)
            inverse_norm = ops.rsqrt(ops.sum(ops.square(product)))
            vector_u = product * inverse_norm
        inverse_sigma = ops.sqrt(ops.sum(ops.square(vector_v))) * inverse_norm
        return vector_u, self.kernel * inverse_sigma


def check_discriminator(model, *, feature_shape, num_scores):
    """Refuse a discriminator that cannot judge these features.

    Args:
        model: the discriminator.
        feature_shape: shape of one example's features, or `None` if that is not known yet.
        num_scores: how many scores an example it may return.

    Raises:
        ValueError: in one sentence.
    """
    head, found = head_of(model), tuple(model.output_shape)[-1]
    if head in ("softmax", "sigmoid"):
        raise ValueError(
            f"The discriminator must return scores. Received: one that ends in {head}. Leave that "
            "activation out: the losses apply it."
        )
    if found not in num_scores:
        raise ValueError(
            "The discriminator must return one score an example, or one a class where classes are "
            f"known: {' or '.join(map(str, num_scores))}. Received: {found}."
        )
    judged = tuple(model.input_shape)[1:]
    if feature_shape is not None and judged != tuple(feature_shape):
        raise ValueError(
            f"The discriminator must judge the shape {tuple(feature_shape)} that it is given. "
            f"Received: one for {judged}. Build it with `adversarial.discriminator("
            f"{tuple(feature_shape)})`."
        )


def check_judged_logits(student, *, at_least, head="logits"):
    """Refuse a student whose logits a discriminator cannot tell from others.

    Args:
        student: the `keras.Model`.
        at_least: logits an example.
        head: what its output is, as its distiller says.

    Raises:
        ValueError: in one sentence.
    """
    if head == "values":
        raise ValueError(
            "A discriminator judges logits of classes or labels. Received: a student whose output "
            "is compared as values. Use a Distiller or a MutualDistiller."
        )
    shape = tuple(student.output_shape)
    if len(shape) != 2:
        raise ValueError(
            "A discriminator judges one prediction an example, logits (batch, classes). Received: "
            f"a student that returns {shape}. Use a Distiller or a MutualDistiller."
        )
    if shape[-1] < at_least:
        raise ValueError(
            f"A discriminator needs at least {at_least} logits, which then say more than a "
            f"constant. Received: {shape[-1]}. Pass `standardize=False` to a "
            "DiscriminatorDistiller; use a MutualDistiller in place of a KDGANDistiller."
        )


def _checked_image_shape(image_shape):
    image_shape = tuple(image_shape)
    if len(image_shape) != 3 or None in image_shape or any(size % 4 for size in image_shape[:2]):
        raise ValueError(
            "A generator makes images (height, width, channels) whose height and width are "
            f"divisible by 4. Received: image_shape={image_shape}. Pad or resize them, or pass "
            "a generator of your own."
        )
    return image_shape
