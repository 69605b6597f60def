"""The command `keras-kd`: parses, calls, prints."""

import contextlib
import dataclasses
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


def _show(sentence, quiet=False):
    from keras_kd._common.console import Console

    Console(quiet=quiet).say(sentence)


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
    if command in ("run", "compare", "sweep", "search", "distill", "resume"):
        return " The same command, or `keras-kd resume DIR`, goes on after the last whole epoch."
    if command == "soft-labels":
        return " The same command goes on after the last whole shard."
    return ""


def _run(options):
    _recipe(options)(seed=options.seed, **_options_of_recipes(options))


def _compare(options):
    keras_kd.experiment.compare(
        _recipe(options), seeds=options.seeds, **_options_of_recipes(options)
    )


def _sweep(options):
    axes = {name: getattr(options, name) for name in ("temperature", "alpha", "loss")}
    keras_kd.experiment.sweep(
        _recipe(options),
        seed=options.seed,
        **{name: values for name, values in axes.items() if values is not None},
        **_options_of_recipes(options),
    )


def _search(options):
    names = ("temperature", "alpha", "learning_rate", "loss", "batch_size")
    axes = {name: getattr(options, name) for name in names}
    keras_kd.experiment.search(
        _recipe(options),
        space={name: values for name, values in axes.items() if values is not None} or None,
        trials=options.trials,
        seed=options.seed,
        storage=options.storage,
        **_options_of_recipes(options),
    )


def _distill(options):
    """Distil; the exit code is 1 if no file is within its budgets."""
    asked = {"formats": options.formats, "max_drop": options.max_drop}
    results = keras_kd.experiment.distill(
        _recipe(options),
        seeds=[options.seed] if options.seeds is None else options.seeds,
        control=options.control,
        **{name: value for name, value in asked.items() if value is not None},
        **_options_of_recipes(options),
    )
    return 0 if results["to_ship"] else 1


def _check(options):
    """Look at what the options name; the exit code is 1 if training would be wasted."""
    recipe = _recipe(options).with_size()
    found = keras_kd.check(
        recipe.teacher if recipe.has_fixed_teacher else None,
        recipe.load(options.seed, options.data_dir),
        student=recipe.student if options.recipe is not None else options.student,
        scale=recipe.scale,
        head=recipe.head,
        # More are seldom needed: patience ends a training.
        epochs=min(recipe.epochs, 100),
        verbose=not options.quiet,
    )
    return 0 if found.ok else 1


def _soft_labels(options):
    """Ask the teacher, or say how far a store is."""
    if options.asked:
        return _show(keras_kd.SoftLabels.status(options.asked[1]))
    from keras_kd.experiment.workers import launcher_of
    from keras_kd.runs.progress import Progress

    recipe = _recipe(options)
    data = recipe.load(options.seed, options.data_dir)
    teacher = recipe.opened_teacher(data, progress=Progress(verbose=False))
    about = options.output, teacher, data.train
    how = {"top_k": options.top_k, "verbose": not options.quiet}
    if options.shard is not None:
        keras_kd.SoftLabels.create_part(*about, options.shard, **how)
    else:
        launcher = launcher_of(_workers(options))
        keras_kd.SoftLabels.create(*about, overwrite=options.overwrite, launcher=launcher, **how)
    return _show(keras_kd.SoftLabels.status(options.output), options.quiet)


def _resume(options):
    config = keras_kd.experiment.check_run(options.folder)
    recipe = None if "made_from" in config else keras_kd.recipes.by_name(config["recipe"])
    keras_kd.experiment.resume(
        options.folder, recipe, data_dir=options.data_dir, verbose=not options.quiet
    )


def _list(options):
    keras_kd.experiment.print_runs(options.folder)


def _report(options):
    _show(f"Written to {keras_kd.experiment.write_report(options.folder)}")


def _recipe(options):
    """Return the `Recipe` that the options name, with the order of its own teacher's classes."""
    recipe = judging.recipe_of(options)
    if options.recipe is not None:
        return recipe
    class_names = _class_names(options)
    if class_names is None:
        return recipe
    data_options = {**(recipe.data_options or {}), "class_names": class_names}
    return dataclasses.replace(recipe, data_options=data_options)


def _class_names(options):
    """Return the classes in the order of the teachers, `None` if nothing tells it."""
    from keras_kd.data.reading import class_names_beside, class_names_in

    if options.class_map is not None:
        return class_names_in(options.class_map)
    told = {path: class_names_beside(path) for path in options.teacher or []}
    orders = {names for names in told.values() if names is not None}
    if len(orders) > 1:
        raise ValueError(
            "Several teachers must know their classes in one order. Received: other class_names."
            f"json beside {' and '.join(told)}. Distil from one of them."
        )
    return orders.pop() if orders else None


def _options_of_recipes(options):
    """Return the options that every experiment takes."""
    names = ("epochs", "quick", "output", "overwrite", "data_dir", "budget", "tensorboard")
    given = {name: getattr(options, name) for name in names if name in vars(options)}
    if "workers" in vars(options):
        given["workers"] = _workers(options)
    return {**given, "verbose": not options.quiet}


def _workers(options):
    """Return how many processes share the work, or the launcher of a Ray cluster."""
    if options.ray is None:
        return options.workers
    launcher = keras_kd.launchers.Ray(options.ray, options.workers if options.workers > 1 else None)
    launcher.check_reachable()  # Before a teacher is trained whose students nobody would take.
    return launcher


def _export(options):
    from keras_kd._common.model_files import load_model_file
    from keras_kd.export.proof import check_calibration
    from keras_kd.teachers.elsewhere import load_any

    data = None
    model = load_model_file(options.model, "model")
    check_calibration(options.formats, model, options.data)
    teacher = None if options.teacher is None else load_any(options.teacher)
    if options.data in keras_kd.data.NAMES:
        data = keras_kd.data.load(options.data, data_dir=options.data_dir)
    elif options.data is not None:
        data = keras_kd.data.read(options.data, **_reading_for(model, options))
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
        verbose=not options.quiet,
    )
    seconds = f"{results['seconds']:.0f} s"
    _show(f"Written to {options.to} in {seconds}: export.json, export.png, files", options.quiet)
    return 0 if results["ok"] else 1


def _reading_for(model, options):
    """Return how data of the user's are read for a model, as options of `data.read`."""
    from keras_kd.data.reading import class_names_beside, class_names_in

    path = options.class_map
    names = class_names_beside(options.model) if path is None else class_names_in(path)
    told = {"class_names": names, "label": options.label, "text": options.text}
    shape = model.input_shape[1:] if len(model.inputs) == 1 else None
    return {"shape": shape} | {name: each for name, each in told.items() if each is not None}


def _serve(options):
    keras_kd.serve.serve(
        options.folder,
        data=options.data,
        data_dir=options.data_dir,
        teacher=options.teacher,
        scale=options.scale,
        head=options.head,
        port=options.port,
        browser=not options.no_browser,
    )


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
    "soft-labels": _soft_labels,
}
