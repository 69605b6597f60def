"""The command `keras-kd`: parses, calls, prints."""

import contextlib
import os
import re
import shutil
import sys

import keras_kd
from keras_kd import judging
from keras_kd._common.backend import quiet_native_stderr
from keras_kd._common.checks import ArgumentError
from keras_kd._common.files import no_room
from keras_kd._common.interruptions import interruptions
from keras_kd._common.terminal import wrapped
from keras_kd.arguments import parser


def main(arguments=None):
    """Run the command line; return its exit code."""
    with interruptions() as came:
        options = None
        try:
            options = parser().parse_args(arguments)
            wrong = _wrong_option(options)
            if wrong is not None and not came.is_set():
                return _say(2, f"error: {wrong}")
            return _CALLS[options.command](options) or 0
        except ArgumentError as error:
            return _say(2, f"error: {error}")
        except (Exception, KeyboardInterrupt) as error:
            if came.is_set() or isinstance(error, KeyboardInterrupt):
                goes_on = _goes_on(options and options.command)
                return _say(130, f"interrupted. Nothing half-written was left.{goes_on}")
            sentence = _sentence_of(error)
            if sentence is None:
                raise
            return _say(1, f"error: {sentence}")


def _wrong_option(options):
    """Return what is wrong with the options, before anything is done; `None` if nothing."""
    try:
        judging.judge_words(options)
    except (OSError, ValueError) as error:
        return error
    _import_quietly()
    try:
        with quiet_native_stderr():
            keras_kd.use_device(options.device)
            import tensorflow as tf

            # TensorFlow makes its devices ready at the first operation, and says so.
            tf.zeros(())
        judging.judge(options)
    except (OSError, ValueError) as error:
        return error
    return None


def _say(exit_code, sentence):
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    with contextlib.suppress(BrokenPipeError):  # Nobody reads; the exit code says it too.
        print("\n".join(wrapped(f"keras-kd: {sentence}", width)), file=sys.stderr)
    return exit_code


def _show(sentence):
    from keras_kd._common.console import Console

    Console().say(sentence)


def _sentence_of(error):
    """Return what a user is told of an error, `None` for one that is no user's and no machine's."""
    # TensorFlow tells the place in its graph before, and the device after what happened.
    reason = re.sub(r"^{{.*?}} | on /job:.*", "", (str(error).strip() or "nothing").splitlines()[0])
    if no_room(error):
        return (
            f"The disk must have room for what is written. Received: {reason}. Make room and say "
            "the same command again."
        )
    # By its name: TensorFlow is not imported before it is needed.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return (
            f"There must be memory for the models and their batches. Received: {reason}. Close "
            "other programs or take a smaller batch, and say the same command again."
        )
    if isinstance(error, (ImportError, OSError, ValueError)):
        return str(error)
    # What Python says inside TensorFlow's pipelines, TensorFlow tells again as its own.
    told = re.search(r"^.*?(?:ValueError|OSError): (.+)$", str(error), re.MULTILINE)
    return told and told[1]


def _goes_on(command):
    if command in ("run", "compare", "sweep", "search", "resume"):
        return " The same command, or `keras-kd resume DIR`, goes on after the last whole epoch."
    return " The same command goes on after the last whole epoch." if command == "distill" else ""


def _run(options):
    recipe = _recipe(options)
    recipe(seed=options.seed, **_options_of_recipes(options), **_budget_of(options))


def _compare(options):
    recipe = _recipe(options)
    keras_kd.experiment.compare(
        recipe, seeds=options.seeds, **_options_of_recipes(options), **_budget_of(options)
    )


def _sweep(options):
    recipe = _recipe(options)
    axes = {name: getattr(options, name) for name in ("temperature", "alpha", "loss")}
    keras_kd.experiment.sweep(
        recipe,
        seed=options.seed,
        **{name: values for name, values in axes.items() if values is not None},
        **_options_of_recipes(options),
        **_budget_of(options),
    )


def _search(options):
    recipe = _recipe(options)
    names = ("temperature", "alpha", "learning_rate", "loss", "batch_size")
    axes = {name: getattr(options, name) for name in names}
    keras_kd.experiment.search(
        recipe,
        space={name: values for name, values in axes.items() if values is not None} or None,
        trials=options.trials,
        workers=options.workers,
        seed=options.seed,
        storage=options.storage,
        **_options_of_recipes(options),
    )


def _resume(options):
    config = keras_kd.experiment.check_run(options.folder)
    recipe = None if "made_from" in config else keras_kd.recipes.by_name(config["recipe"])
    keras_kd.experiment.resume(options.folder, recipe, data_dir=options.data_dir)


def _list(options):
    keras_kd.experiment.print_runs(options.folder)


def _report(options):
    _show(f"Written to {keras_kd.experiment.write_report(options.folder)}")


def _recipe(options):
    recipe = getattr(keras_kd.recipes, options.recipe)
    return recipe.best if options.best else recipe


def _options_of_recipes(options):
    names = ("epochs", "quick", "output", "overwrite", "data_dir")
    return {name: getattr(options, name) for name in names}


def _budget_of(options):
    return {"budget": options.budget, "tensorboard": options.tensorboard}


def _export(options):
    from keras_kd._common.model_files import load_model_file
    from keras_kd.export.proof import check_calibration

    data = None
    model = load_model_file(options.model, "model")
    check_calibration(options.formats, model, options.data)
    teacher = None if options.teacher is None else load_model_file(options.teacher, "teacher")
    if options.data is not None:
        data = keras_kd.data.load(options.data, data_dir=options.data_dir)
    results = keras_kd.export.export(
        model,
        options.to,
        formats=options.formats,
        data=data,
        teacher=teacher,
        max_kb=options.max_kb,
        max_drop=options.max_drop,
        max_us=options.max_us,
        overwrite=options.overwrite,
    )
    seconds = f"{results['seconds']:.0f} s"
    _show(f"Written to {options.to} in {seconds}: export.json, export.png, files")
    return 0 if results["ok"] else 1


def _serve(options):
    keras_kd.serve.serve(
        options.folder,
        data=options.data,
        data_dir=options.data_dir,
        teacher=options.teacher,
        port=options.port,
        browser=not options.no_browser,
    )


def _distill(options):
    from keras_kd.own_data.command import run_distill

    return run_distill(options)


def _check(options):
    from keras_kd.own_data.command import run_check

    return run_check(options)


def _import_quietly():
    """Import Keras and TensorFlow without their start-up messages."""
    from keras_kd._common.backend import require_tensorflow

    # 2: errors only, unless the user asked for another level.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_native_stderr():
        require_tensorflow()


_CALLS = {
    "run": _run,
    "compare": _compare,
    "sweep": _sweep,
    "search": _search,
    "resume": _resume,
    "list": _list,
    "report": _report,
    "export": _export,
    "serve": _serve,
    "distill": _distill,
    "check": _check,
}
