"""What shows that a game of images has collapsed, and what is done about it."""

import collections
import contextlib
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_kd._common.checks import check_integer
from keras_kd._common.files import written_whole
from keras_kd._common.typing import Config, PathLike, Tensor
from keras_kd.distillers.variables import of_optimizers


class RarestClass(keras.metrics.Metric):
    """Share of the class that is predicted least: `1 / num_classes` at best, 0 if one is missing.

    Args:
        num_classes: number of classes.
        name: name of the metric.
    """

    def __init__(self, num_classes, name="rarest_class", **kwargs):
        super().__init__(name=name, **kwargs)
        self.counts = self.add_weight(shape=(num_classes,), initializer="zeros", name="counts")

    def update_state(self, predicted):
        """Count a batch of predicted classes `[batch]`."""
        classes = ops.one_hot(predicted, self.counts.shape[0], dtype="float32")
        self.counts.assign_add(ops.sum(classes, axis=0))

    def result(self):
        """Return the share of the rarest class so far."""
        return ops.min(self.counts) / ops.maximum(ops.sum(self.counts), 1.0)


class CollapseWatch(keras.callbacks.Callback):
    """Watches a `DataFreeDistiller`: goes back when its game collapses, keeps the best student.

    At the end of each epoch the game has collapsed if

    - a class is missing: `rarest_class` is below `min_rarest_class`;
    - the images are all alike: `diversity` is below a tenth of the highest so far;
    - the student diverges: its loss is not finite, or it agrees with the teacher on
      `max_drop` less of the images than the best student so far.

    Then it warns, sets networks, replayed images and optimizers back to the last epoch that was
    well, and halves the learning rates. (A rate that follows a schedule is left to it: the count
    of steps does not go back, so a decaying rate is smaller the second time.) After
    `max_returns` of these it stops the training.

    No real data is needed to choose the student: it is the one that agrees best with the teacher
    on a gallery of generated images, made from noise that is never trained on; one batch of each
    of the last epochs. At the end of `fit` the student has its weights. Like Keras's
    `EarlyStopping`, the watch begins anew in a run that is resumed.

    Args:
        min_rarest_class: share of the generated images, from 0 to below 1.
        max_drop: share of the gallery, above 0.
        max_returns: how often to go back, at least 0.
        num_images: images an epoch adds to the gallery.
        num_epochs: epochs that the gallery holds.

    Attributes:
        returns: how often it went back.
        agreement: of the best student with its teacher, on the gallery as it is.
        best_epoch: of that student, from 0.

    Example:

    ```python
    import keras_kd as kd

    watch = kd.adversarial.CollapseWatch(max_returns=2)
    # distiller.fit(epochs=40, steps_per_epoch=500, callbacks=[watch])
    assert watch.returns == 0
    ```
    """

    def __init__(
        self,
        *,
        min_rarest_class: float = 0.01,
        max_drop: float = 0.1,
        max_returns: int = 3,
        num_images: int = 500,
        num_epochs: int = 10,
    ):
        super().__init__()
        check_integer("max_returns", max_returns, minimum=0)
        check_integer("num_images", num_images, minimum=1)
        check_integer("num_epochs", num_epochs, minimum=1)
        self.min_rarest_class, self.max_drop = min_rarest_class, max_drop
        self.max_returns, self.num_images = max_returns, num_images
        self.gallery = collections.deque(maxlen=num_epochs)
        self.returns, self.best_epoch, self.agreement = 0, None, 0.0

    def on_train_begin(self, logs: Config | None = None) -> None:
        self._highest_diversity, self._best = 0.0, None
        self._well = [variable.numpy() for variable in self._state()]

    def on_epoch_end(self, epoch: int, logs: Config | None = None) -> None:
        if reason := self._collapse(logs):
            self._go_back(epoch, reason)
            return
        self._highest_diversity = max(self._highest_diversity, logs["diversity"])
        self._well = [variable.numpy() for variable in self._state()]
        self._choose(epoch)

    def on_train_end(self, logs: Config | None = None) -> None:
        if self._best is not None:
            self.model.student.set_weights(self._best)

    def _collapse(self, logs):
        """Return what is wrong, or `None`."""
        if not np.isfinite(logs["loss"]):
            return f"the student's loss is {logs['loss']}"
        if logs["rarest_class"] < self.min_rarest_class:
            return f"a class has all but vanished (rarest_class={logs['rarest_class']:.4f})"
        if logs["diversity"] < 0.1 * self._highest_diversity:
            return f"the images are all alike (diversity={logs['diversity']:.4f})"
        if self._best is not None:
            lost = self._agreement(self._best) - self._agreement(self.model.student.get_weights())
            if lost > self.max_drop:
                return f"the student diverges (agreement {lost:.4f} below the best)"
        return None

    def _go_back(self, epoch, reason):
        if self.returns == self.max_returns:
            self.model.stop_training = True
            warnings.warn(
                f"Epoch {epoch + 1}: {reason}, again after {self.returns} returns. Training "
                "stops; the best student is kept. Try a smaller learning rate, larger batches or "
                "a larger weight of ClassBalance.",
                stacklevel=2,
            )
        else:
            self.returns += 1
            warnings.warn(
                f"Epoch {epoch + 1}: {reason}. Going back to the last epoch that was well, with "
                f"half the learning rates (return {self.returns} of {self.max_returns}).",
                stacklevel=2,
            )
        rates = [float(optimizer.learning_rate) for optimizer in self._optimizers()]
        for variable, value in zip(self._state(), self._well, strict=True):
            variable.assign(value)
        for optimizer, rate in zip(self._optimizers(), rates, strict=True):
            with contextlib.suppress(TypeError):  # It follows a schedule.
                optimizer.learning_rate = rate / 2

    def _choose(self, epoch):
        """Keep the student if it is at least as good as the best one on the same gallery."""
        latents = self.model.held_out_latents(self.num_images, epoch)
        images = self.model.generator(latents, training=False)
        self.gallery.append((images, np.argmax(self.model.teacher(images), axis=-1)))
        now = self.model.student.get_weights()
        agreement = self._agreement(now)
        before = -1.0 if self._best is None else self._agreement(self._best)
        if agreement >= before:
            self._best, self.best_epoch = now, epoch
        self.agreement = max(agreement, before)

    def _agreement(self, weights):
        """Return the agreement of teacher and student on the gallery, had the student `weights`."""
        student = self.model.student
        now = student.get_weights()
        student.set_weights(weights)
        agreements = [
            np.mean(np.argmax(student(images, training=False), axis=-1) == answers)
            for images, answers in self.gallery
        ]
        student.set_weights(now)
        return float(np.mean(agreements))

    def _optimizers(self):
        return self.model.optimizers()

    def _state(self):
        """Return all that goes back: everything but the counts of steps."""
        counts = [self.model.num_steps, *(each.iterations for each in self.model.optimizers())]
        found = [*self.model.variables, *of_optimizers(self.model)]
        return [each for each in found if not any(each is count for count in counts)]


class ImageGrid(keras.callbacks.Callback):
    """Writes a grid of generated images at the end of each epoch, as a PNG file.

    The noise is the same each time, so that one can watch an image come to be.

    Args:
        folder: where `epoch_001.png`, `epoch_002.png`, ... are written.
        rows: images down.
        columns: images across.

    Example:

    ```python
    import keras_kd as kd

    grid = kd.adversarial.ImageGrid("pictures", rows=4, columns=8)
    # distiller.fit(epochs=40, steps_per_epoch=500, callbacks=[grid])
    ```
    """

    def __init__(self, folder: PathLike, *, rows: int = 8, columns: int = 8):
        super().__init__()
        check_integer("rows", rows, minimum=1)
        check_integer("columns", columns, minimum=1)
        self.folder, self.rows, self.columns = Path(folder), rows, columns

    def on_epoch_end(self, epoch: int, logs: Config | None = None) -> None:
        latents = self.model.held_out_latents(self.rows * self.columns, 0)
        grid = image_grid(self.model.generator(latents, training=False), columns=self.columns)
        with written_whole(self.folder / f"epoch_{epoch + 1:03d}.png") as unfinished:
            unfinished.write_bytes(tf.io.encode_png(grid).numpy())


def image_grid(images: Tensor, *, columns: int) -> np.ndarray:
    """Return images as one: uint8 `[rows * height, columns * width, channels]`.

    Args:
        images: raw pixels `[rows * columns, height, width, channels]`; what lies outside 0 to
            255 is cut off.
        columns: images across.
    """
    images = np.clip(np.round(images), 0, 255).astype("uint8")
    count, height, width, channels = images.shape
    grid = images.reshape(count // columns, columns, height, width, channels)
    return grid.swapaxes(1, 2).reshape(count // columns * height, columns * width, channels)
