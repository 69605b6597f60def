"""One way to carry out an experiment of any kind: every choice first, then the test split."""

import dataclasses
import time
from pathlib import Path

from keras_kd._common.backend import describe_machine, on_gpu
from keras_kd._common.checks import check_integer
from keras_kd._common.locks import at_work
from keras_kd._common.model_files import is_whole, load_model_file
from keras_kd.data.joining import taught
from keras_kd.distillers.precision import policy_for
from keras_kd.experiment import budget as budget_module
from keras_kd.experiment.choosing import settled
from keras_kd.experiment.result import Result
from keras_kd.experiment.tables import notes
from keras_kd.experiment.training import Asked, Trainer
from keras_kd.experiment.workers import check_can_be_sent, launcher_of
from keras_kd.runs import events, records
from keras_kd.runs import folder as folder_module
from keras_kd.runs.keeper import machines_of
from keras_kd.runs.progress import Progress


def carry_out(
    kind,
    recipe,
    *,
    epochs=None,
    quick=False,
    budget=None,
    tensorboard=False,
    output=None,
    overwrite=False,
    data_dir=None,
    workers=1,
    verbose=True,
):
    """Train, choose on validation, read the test split once, write it down, and show it.

    The arguments are those of `experiment.run` and `experiment.compare`, and:

    Args:
        kind: a `Kind`, which says what is trained, judged and shown.
        recipe: a `Recipe`.

    Returns:
        A `Result`.
    """
    check_integer("epochs", 1 if epochs is None else epochs, minimum=1)
    asked = Asked(
        epochs=epochs, quick=quick, budget=budget_module.seconds_of(budget),
        tensorboard=tensorboard, data_dir=data_dir, overwrite=overwrite, workers=workers,
    )  # fmt: skip
    whole = recipe
    recipe = recipe.for_epochs(epochs, quick=quick, best=budget is not None)
    kind.check(recipe)
    if launcher_of(workers) is not None:
        check_can_be_sent(kind, recipe)
    options = {**kind.options(), **asked.options(kind.left_out)}
    folder = folder_module.output_for(kind.name, recipe.name, output, options, overwrite)
    callbacks = events.callbacks_for(folder, tensorboard)
    progress = Progress(verbose)
    started = time.perf_counter()
    recipe = recipe.with_size()
    made_from = dataclasses.replace(whole, data_options=recipe.data_options).words()
    data = _load(recipe, kind.seeds[0], data_dir, progress)
    recipe = recipe.with_images(data)  # Read once, for every training and seed.
    # Refused before a folder is made, if they do not fit.
    unlabelled = len(taught(data)) - len(data.train)
    if unlabelled:
        progress.say(f"Without labels: {unlabelled} more, of which the teacher speaks")
    # What was begun was checked then.
    checked = recipe.checked and (overwrite or not folder_module.is_begun(folder))
    fixed = recipe.opened_teacher(data, checked=checked, progress=progress)
    trainer = Trainer(
        recipe, data, kind.seeds[0], folder, progress, callbacks, fixed=fixed, asked=asked
    )
    what = {
        "kind": kind.name, "recipe": recipe.name, "options": options,
        "data": folder_module.describe(data, unlabelled), "made_from": made_from,
    }  # fmt: skip
    kind.open(trainer)
    with at_work(folder):  # Before minutes of work, if it cannot be.
        trainer = budget_module.fitted(trainer, kind, started)
        folder_module.begin(
            folder, **what, settings=trainer.settings(), progress=progress, overwrite=overwrite
        )
        found = _finished(kind, trainer) or _made(kind, trainer, what, started)
    results, student = found
    show(kind, results, folder, progress)
    return Result(results, kind=kind, folder=folder, student=student, teacher=fixed, data=data)


def _made(kind, trainer, what, started):
    """Return the results, written down, and the student that they recommend."""
    trainer, chosen = settled(trainer, kind.varied)
    trained = kind.train(trainer)
    # Every choice is made: from here on the test split may be read.
    test = trainer.data.test
    judged = kind.judge(trainer, trained, test)
    results = {**folder_module.head(what, trainer.settings(), test), **chosen, **judged.results}
    if trainer.fixed is not None:
        results["seeds_vary"] = trainer.recipe.seeds_vary
    machines = machines_of([trainer.folder, *trainer.folder.glob("seed_*")])
    if len(machines) > 1:
        results["machines"] = machines
    results["seconds"] = time.perf_counter() - started + sum(trainer.earlier)
    folder_module.finish(trainer.folder, results)
    judged.draw()
    return results, judged.student


def _finished(kind, trainer):
    """Return what `_made` did in an earlier call; `None` if it did not, or a file is missing."""
    folder, given = trainer.folder, trainer.recipe.student
    results = records.read_results(folder, kind.name)
    if results is None or not all((folder / name).exists() for name in kind.files(results)):
        return None
    path = folder / kind.files(results)[0]
    if not is_whole(path):
        return None
    trainer.progress.say(f"{folder} is finished:")
    if isinstance(given, (str, Path)):
        return results, load_model_file(path, "student")
    # It is built as it was then, of whatever layers.
    student = trainer.build(given)
    student.load_weights(path)
    return results, student


def show(kind, results, folder, progress):
    """Show what a finished run found."""
    progress.show(kind.table(results))
    verdict, *others = kind.sentences(results, folder)
    progress.say(verdict, *notes(results), *others)


def _load(recipe, seed, data_dir, progress):
    """Return the recipe's data, split by the seed, having said what it is."""
    progress.say(f"Device: {describe_machine()['device']}")
    if recipe.precision is not None:
        policy, reason = policy_for(recipe.precision, on_gpu=on_gpu())
        progress.say(f"Precision: {policy} ({reason}); weights, losses: float32")
    data = recipe.load(seed, data_dir)
    progress.say(
        f"Data: {data.name} from {data.source}: {len(data.train)} to train, "
        f"{len(data.validation)} to validate"
    )
    return data
