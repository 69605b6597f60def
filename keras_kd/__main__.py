"""`python -m keras_kd` is `keras-kd`."""

import os
import sys

from keras_kd._common.interruptions import interruptions


def main():
    """Run the command line of this process; return its exit code."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Closed. A file that is opened next would get its number, and what is written there.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, open to the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Not every terminal has a sign for ± or the classes' names.
            stream.reconfigure(errors="backslashreplace")
    try:
        with interruptions():
            # The rest of the package, which takes its time, can be interrupted too.
            from keras_kd import cli

            return cli.main()
    except KeyboardInterrupt:
        return 130
    finally:
        for stream in (sys.stdout, sys.stderr):
            _end(stream)


def _end(stream):
    """Write out what waits in a stream, or forget it if nobody reads any more."""
    try:
        if stream is not None:
            stream.flush()
    except BrokenPipeError:
        # Python tries again at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
