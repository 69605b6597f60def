"""What a run shows while it works: a line that moves, on a terminal and in a notebook.

Elsewhere, in a file or in the program's own log, it is a line now and then.
"""

import contextlib
import logging
import time

import keras
import rich.progress

from keras_kd._common.console import Console
from keras_kd._common.looks import LOOKS
from keras_kd._common.terminal import printable

# Where no line can be drawn over, one is printed at most this often.
SECONDS_BETWEEN_LINES = 10
# What a live line takes beside what is told: a title and a mark that moves.
_BESIDE = 20
_TITLES = {
    "student": "student distilled",
    "student_alone": "student alone",
    "label_smoothing": "label smoothing",
    "soft_targets": "soft targets",
    "teacher_labels": "teacher's labels",
}


class Progress:
    """The display of a run.

    Args:
        verbose: show anything at all.
        console: where to, a `Console`; a new one if `None`.
        who: what each line begins with, where several show theirs in one place.
    """

    def __init__(self, verbose=True, console=None, who=""):
        self.verbose, self.who = verbose, who
        self.console = console or Console(quiet=not verbose)
        self.show = self.console.show

    def say(self, *lines):
        """Show sentences."""
        self.console.say(*(f"{self.who}{line}" for line in lines))

    @contextlib.contextmanager
    def of(self, name, epochs, stoppings, checkpoint):
        """Yield what shows a training, and close with one line a model.

        Args:
            name: of the training.
            epochs: at most.
            stoppings: the `EarlyStopping` of each model, by name; each knows how far it is from
                its end.
            checkpoint: the training's `Checkpoint`.
        """
        display = _Display(epochs, stoppings, checkpoint)
        with self._line_of(name) as update:
            display.update = update
            yield display
        for each in stoppings:
            self.say(f"{title_of(each):<17} {display.summary(each)}")

    def _line_of(self, name):
        """Return a context of what shows how far a training is, from parts of a sentence."""
        title = title_of(name)
        if self.console.is_live:
            return self._on_terminal(title, LOOKS[name].colour if name in LOOKS else "none")
        if self.console.is_jupyter and not self.console.quiet:
            return _in_notebook(title)
        return contextlib.nullcontext(self._now_and_then(title))

    @contextlib.contextmanager
    def _on_terminal(self, title, colour):
        columns = (
            rich.progress.TextColumn("{task.description:<17}", markup=False, style=colour),
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.fields[state]}", markup=False),
        )
        width = self.console.width - _BESIDE
        with rich.progress.Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(printable(title), state="compiling")
            yield lambda parts: bar.update(task, state=that_fits(parts, width))

    def _now_and_then(self, title):
        last = time.perf_counter()

        def update(parts):
            nonlocal last
            if time.perf_counter() - last >= SECONDS_BETWEEN_LINES:
                last = time.perf_counter()
                self.say(f"{title:<17} {' '.join(filter(None, parts))}")

        return update


@contextlib.contextmanager
def _in_notebook(title):
    """Yield what draws over the line that it drew in the cell's output before."""
    from IPython.display import display

    def shown(parts):
        return {"text/plain": printable(f"{title:<17} {' '.join(filter(None, parts))}")}

    handle = display(shown(["compiling"]), raw=True, display_id=True)
    try:
        yield lambda parts: handle.update(shown(parts), raw=True)
    finally:
        handle.update({"text/plain": ""}, raw=True)


class _Display:
    def __init__(self, epochs, stoppings, checkpoint):
        self.epochs, self.stoppings, self.checkpoint = epochs, stoppings, checkpoint
        self.update = None
        self.done, self.since = checkpoint.epoch, None
        self.logs = {}

    def callback(self, name):
        """Return the callback of one model."""
        return _Member(self, name)

    def begin_epoch(self, epoch):
        # The first epoch compiles; what follows is the pace.
        if self.since is None and self.logs:
            self.since = epoch, time.perf_counter()

    def end_epoch(self, name, epoch, logs):
        self.done = epoch + 1
        self.logs[name] = logs
        self.update([f"{self.done}/{self.epochs}", *self._figures(), self._time_left()])

    def _figures(self):
        if len(self.stoppings) == 1:
            (logs,) = self.logs.values()
            return [f"loss {logs['loss']:.3f}", f"val_accuracy {logs['val_accuracy']:.4f}"]
        best = max(logs["val_accuracy"] for logs in self.logs.values())
        return [f"{len(self.stoppings)} models,", f"best val_accuracy {best:.4f}"]

    def _time_left(self):
        """Return how long it takes if no epoch gets better, to how long at most."""
        if self.since is None:
            return ""
        first, started = self.since
        pace = (time.perf_counter() - started) / max(self.done - first, 1)
        most = self.epochs - self.done
        patience = max(each.patience - each.wait for each in self.stoppings.values())
        if patience >= most:
            return f"{clock(most * pace)} left"
        return f"{clock(patience * pace)} to {clock(most * pace)} left"

    def summary(self, name):
        stopping, count = self.stoppings[name], self.checkpoint.num_epochs(name)
        kept = "best" if stopping.restore_best_weights else "last"
        return (
            f"{count} epoch{'s' if count > 1 else ''} in {clock(self.checkpoint.seconds)}, {kept} "
            f"val_accuracy {stopping.best:.4f} in epoch {stopping.best_epoch + 1}"
        )


class _Member(keras.callbacks.Callback):
    def __init__(self, display, name):
        super().__init__()
        self.display, self.name = display, name

    def on_epoch_begin(self, epoch, logs=None):
        self.display.begin_epoch(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.display.end_epoch(self.name, epoch, logs)


def that_fits(parts, width):
    """Return as many of the first parts, in one line, as fit; a number that is cut is another."""
    line = ""
    for part in parts:
        longer = f"{line} {part}".strip()
        if len(longer) > width:
            break
        line = longer
    return line


@contextlib.contextmanager
def quiet_about_tracing():
    """Hold back TensorFlow's warning that much is traced, which short trainings of many models do.

    There each model is traced anew, and some minibatches are smaller than others.
    """
    tensorflow = logging.getLogger("tensorflow")
    tensorflow.addFilter(_is_not_about_tracing)
    try:
        yield
    finally:
        tensorflow.removeFilter(_is_not_about_tracing)


def _is_not_about_tracing(record):
    return "retracing" not in record.getMessage()


def title_of(name):
    """Return what people call a model of a run."""
    return _TITLES.get(name, name)


def clock(seconds):
    """Return a duration as minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
