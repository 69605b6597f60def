"""Processes that begin in a moment: forked from one that has imported the package and done nothing.

A fresh Python takes five seconds to import TensorFlow. Where a fact is not about these seconds
(what the package imports, a signal in the first second), a forked one shows it as well.

    told = warm.run("run", "digits", "--quick", cwd=folder)   # As `python -m keras_kd run ...`.
    process = warm.start(code="import keras_kd as kd; ...")   # As `python -c`, with `sys.argv`.

Both answer as `subprocess.run` and `subprocess.Popen` do with captured text.
"""

import concurrent.futures
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from multiprocessing import reduction

# What a process that trains, exports and draws would import.
_IMPORTED = (
    *("numpy", "tensorflow", "keras", "rich.progress", "matplotlib.figure"),
    *("keras_kd.cli", "keras_kd.adversarial", "keras_kd.experiment", "keras_kd.experiment.run"),
    *("keras_kd.experiment.distill", "keras_kd.export.proof", "keras_kd.recipes", "warm"),
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_IMPORTED)


def start(*arguments, code=None, cwd=None, env=None):
    """Begin `keras-kd` with arguments, or some Python, in a process of its own.

    Args:
        *arguments: words of the command, or what `sys.argv[1:]` holds for `code`.
        code: Python, in the place of the command.
        cwd: the folder that it begins in; this process's by default.
        env: its environment; this process's by default.
    """
    return Started([str(each) for each in arguments], code, cwd, env)


def run(*arguments, timeout=600, **options):
    """Run to the end; return a `subprocess.CompletedProcess`."""
    process = start(*arguments, **options)
    stdout, stderr = process.communicate(timeout)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


class Started:
    """A process that was begun, as `subprocess.Popen` shows one."""

    def __init__(self, arguments, code, cwd, env):
        self.args = arguments
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self._process = _context.Process(
            target=_work,
            args=(
                arguments, code, os.path.abspath(cwd or os.getcwd()), dict(env or os.environ),
                _End(out_end), _End(err_end),
            ),
        )  # fmt: skip
        # The server inherits what is here when the first is begun: where imports come from.
        paths = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        try:
            self._process.start()
        finally:
            if paths is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = paths
            os.close(out_end)
            os.close(err_end)
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self._process.exitcode

    def communicate(self, timeout=None):
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            told = [threads.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                self.wait()
                raise
            finally:
                told = [each.result() for each in told]
                self.stdout.close()
                self.stderr.close()
        return tuple(told)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class _End:
    """The end of a pipe, on its way into another process."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return _End._arrived, (reduction.DupFd(self.number),)

    @staticmethod
    def _arrived(duplicate):
        return _End(duplicate.detach())


def _work(arguments, code, folder, environment, out, err):
    assert threading.active_count() == 1
    for number, end in ((1, out), (2, err)):
        os.dup2(end.number, number)
        os.close(end.number)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", encoding="utf-8", errors=errors, closefd=False)
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    try:
        if code is None:
            sys.argv = ["keras-kd", *arguments]
            runpy.run_module("keras_kd", run_name="__main__", alter_sys=True)
        else:
            sys.argv = ["-c", *arguments]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
