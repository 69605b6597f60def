"""What a distillation shows while it works."""

import time

import keras

from keras_kd.experiment.progress import SECONDS_BETWEEN_LINES, Progress


class Display(Progress):
    """Lines about a distillation: one now and then while a model trains, one at its end."""

    def training(self, title, epochs):
        """Return a callback that shows the training of one model."""
        return _Lines(self, title, epochs)


class _Lines(keras.callbacks.Callback):
    def __init__(self, display, title, epochs):
        super().__init__()
        self.display, self.title, self.epochs = display, title, epochs
        self.best = (-1.0, 0)

    def on_train_begin(self, logs=None):
        self.started = self.last = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.best = max(self.best, (logs["val_accuracy"], -epoch - 1))
        self.epoch = epoch + 1
        if time.perf_counter() - self.last >= SECONDS_BETWEEN_LINES:
            self.last = time.perf_counter()
            self.display.say(
                f"{self.title:<17} epoch {self.epoch} of at most {self.epochs}: "
                f"loss {logs['loss']:.3f}, val_accuracy {logs['val_accuracy']:.4f}"
            )

    def on_train_end(self, logs=None):
        accuracy, epoch = self.best
        self.display.say(
            f"{self.title:<17} {self.epoch} epochs in {time.perf_counter() - self.started:.0f} s, "
            f"best val_accuracy {accuracy:.4f} in epoch {-epoch}"
        )
