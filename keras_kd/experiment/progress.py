"""What a run shows while it works: a live line on a terminal, a line now and then elsewhere."""

import contextlib
import time

import keras
import rich.console
import rich.progress

# Where no line can be drawn over, one is printed at most this often.
_SECONDS_BETWEEN_LINES = 10


class Progress:
    """The display of a run.

    Args:
        verbose: show anything at all.
    """

    def __init__(self, verbose=True):
        self.console = rich.console.Console(quiet=not verbose, highlight=False)

    def say(self, *lines):
        for line in lines:
            self.console.print(line, markup=False, soft_wrap=True)

    def show(self, table):
        self.console.print(table)

    @contextlib.contextmanager
    def of(self, title, epochs, stopping):
        """Yield a callback that shows the training of one model, and close with one line.

        Args:
            title: what is trained.
            epochs: at most.
            stopping: the `EarlyStopping` of this training; it knows how far it is from its end.
        """
        columns = (
            rich.progress.TextColumn("{task.description:<17}"),
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.fields[state]}"),
        )
        live = self.console.is_terminal
        with rich.progress.Progress(
            *columns, console=self.console, disable=not live, transient=True
        ) as bar:
            task = bar.add_task(title, state="compiling")
            display = _Display(epochs, stopping)
            display.update = (
                (lambda state: bar.update(task, state=state))
                if live
                else self._print_now_and_then(title)
            )
            yield display
        self.say(f"{title:<17} {display.summary()}")

    def _print_now_and_then(self, title):
        last = time.perf_counter()

        def update(state):
            nonlocal last
            if time.perf_counter() - last >= _SECONDS_BETWEEN_LINES:
                last = time.perf_counter()
                self.say(f"{title:<17} {state}")

        return update


class _Display(keras.callbacks.Callback):
    def __init__(self, epochs, stopping):
        super().__init__()
        self.epochs, self.stopping = epochs, stopping
        self.done = 0
        self.update = None

    def on_train_begin(self, logs=None):
        self.started = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        if self.done == 1:  # The first epoch compiles; what follows is the pace.
            self.first_ended = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.done = epoch + 1
        # Fits a terminal of 80 columns.
        self.update(
            f"{self.done}/{self.epochs} loss {logs['loss']:.3f} "
            f"val_accuracy {logs['val_accuracy']:.4f} {self._time_left()}",
        )

    def _time_left(self):
        """Return how long it takes if no epoch gets better, to how long at most."""
        if self.done < 2:
            return ""
        pace = (time.perf_counter() - self.first_ended) / (self.done - 1)
        most = self.epochs - self.done
        patience = self.stopping.patience - self.stopping.wait
        if patience >= most:
            return f"{_clock(most * pace)} left"
        return f"{_clock(patience * pace)} to {_clock(most * pace)} left"

    def summary(self):
        return (
            f"{self.done} epochs in {_clock(time.perf_counter() - self.started)}, best "
            f"val_accuracy {self.stopping.best:.4f} in epoch {self.stopping.best_epoch + 1}"
        )


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
