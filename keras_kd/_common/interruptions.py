"""Interruptions that arrive: Ctrl-C and SIGTERM end a command, wherever they meet it."""

import _thread
import contextlib
import signal
import sys
import threading

# Seconds until a lost interruption is said again.
_PAUSE = 0.01
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interruptions():
    """Let SIGTERM, which batch systems send before they kill, interrupt as Ctrl-C does.

    Python drops what is raised in a finaliser, and a KeyboardInterrupt that falls into one (the
    death of a large graph is thousands of them) would be lost: here it is raised again, outside.
    Native code may turn one into an error of its own: what is yielded tells whether one came.

    Yields:
        A `threading.Event`, set once there was an interruption.
    """
    came, timers = threading.Event(), []

    def interrupt(number, frame):
        came.set()
        raise KeyboardInterrupt

    def again_if_lost(unraisable):
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook_before(unraisable)
            return
        timers.append(threading.Timer(_PAUSE, _thread.interrupt_main, [signal.SIGTERM]))
        timers[-1].start()

    # Shells let those of a background process be ignored.
    heard = [each for each in _SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, interrupt) for number in heard}
    hook_before, sys.unraisablehook = sys.unraisablehook, again_if_lost
    try:
        yield came
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = hook_before
        for number, handler in handlers.items():
            signal.signal(number, handler)
