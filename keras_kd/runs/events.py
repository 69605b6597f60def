"""The logs of trainings as TensorBoard events, in the directory of their run."""

import shutil

import keras
import tensorflow as tf

from keras_kd._common.backend import require_extra


def callbacks_for(folder, asked):
    """Return the `callbacks` of a `Trainer` that writes events, or none if they are not asked for.

    Args:
        folder: of the run; each model's events lie in `tensorboard/<name>` below it.
        asked: whether they are.

    Raises:
        ImportError: if they are asked for and the extra `tensorboard` is missing.
    """
    if not asked:
        return lambda name, checkpoint: []
    require_extra("tensorboard", "tensorboard", "Writing TensorBoard events")
    return lambda name, checkpoint: [_Events(folder / "tensorboard" / name, name, checkpoint)]


class _Events(keras.callbacks.Callback):
    """Writes the logs of each epoch, numbered from 1.

    NOTE: Keras's `TensorBoard` would leave out what a killed process had not written yet, or
    write epochs twice. This one begins anew, from the logs in the checkpoint.
    """

    def __init__(self, folder, name, checkpoint):
        super().__init__()
        self.folder, self.name, self.checkpoint = folder, name, checkpoint

    def on_train_begin(self, logs=None):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.writer = tf.summary.create_file_writer(str(self.folder))
        earlier = self.checkpoint.logs(self.name) if self.checkpoint.epoch else {}
        epochs = earlier.pop("epoch", [])
        for number in range(len(epochs)):
            self._write(number + 1, {key: values[number] for key, values in earlier.items()})

    def on_epoch_end(self, epoch, logs=None):
        self._write(epoch + 1, logs)

    def on_train_end(self, logs=None):
        self.writer.close()

    def _write(self, epoch, logs):
        with self.writer.as_default():
            for key, value in logs.items():
                tf.summary.scalar(key, value, step=epoch)
        self.writer.flush()
