"""Generated images that a student sees again."""

import keras
import tensorflow as tf
from keras import ops


class ReplayPool(keras.layers.Layer):
    """The batches of the last steps, and what the teacher said of them; saved with the distiller.

    Args:
        num_batches: how many; a new one takes the place of the oldest.
        batch_size: images in each.
        image_shape: shape of one image.
        num_classes: number of logits of one image.
    """

    def __init__(self, num_batches, *, batch_size, image_shape, num_classes):
        super().__init__(name="replay_pool", dtype="float32", trainable=False)
        self.num_batches = num_batches
        self.images, self.logits = (
            self.add_weight(shape=(num_batches, batch_size, *shape), initializer="zeros", name=name)
            for name, shape in (("images", image_shape), ("logits", (num_classes,)))
        )

    def put(self, step, images, logits):
        """Keep the batch of a step, an integer tensor."""
        place = [[step % self.num_batches]]
        for kept, batch in ((self.images, images), (self.logits, logits)):
            kept.value.scatter_nd_update(place, ops.cast(batch, "float32")[tf.newaxis])

    def batch(self, step):
        """Return images and logits of a step, one of the last `num_batches`."""
        place = step % self.num_batches
        return tf.gather(self.images.value, place), tf.gather(self.logits.value, place)
