"""What a run leaves as JSON, read back: whole and of its shape, or refused in a sentence."""

import os
from pathlib import Path

from keras_kd._common import json_files
from keras_kd._common.json_files import NUMBER, interval
from keras_kd.runs.storage import without_password

# A part of a comparison.
PARTS = ("seed",)
_ANY = {str: object}
# Former versions had fewer.
_OF_RECIPES = {"epochs?": (int, None), "quick?": bool, "data_dir?": (str, None)}
_OF_BUDGETS = {"budget?": (*NUMBER, None), "tensorboard?": bool}
_OF_WORKERS = {"workers?": int}
_OPTIONS = {
    "run": {"seed?": int, **_OF_RECIPES, **_OF_BUDGETS},
    "compare": {"seeds?": [int], **_OF_RECIPES, **_OF_BUDGETS, **_OF_WORKERS},
    "sweep": {
        "seed?": int,
        "temperature?": [NUMBER],
        "alpha?": [NUMBER],
        "loss?": ([str], None),
        **_OF_RECIPES,
        **_OF_BUDGETS,
        **_OF_WORKERS,
    },
    "search": {
        "seed?": int,
        "space?": {str: [(*NUMBER, str)]},
        "trials?": int,
        "storage?": (str, None),
        **_OF_RECIPES,
        **_OF_WORKERS,
    },
    "seed": _ANY,
    "distill": {
        "seeds": [int],
        "control": bool,
        "formats": [str],
        "max_drop": (*NUMBER, None),
        **_OF_RECIPES,
        **_OF_BUDGETS,
    },
}
_CONFIG = {
    "kind": lambda kind: isinstance(kind, str) and kind in _OPTIONS,
    "recipe": str,
    "command": str,
    "options": _ANY,
    "settings?": _ANY,
    "data?": _ANY,
    "machine?": _ANY,
    "made_from?": _ANY,
}


class FormerVersionError(ValueError):
    """What a former version wrote, and this one does not go on with."""


def _curves(value):
    """Return whether a model's curves are lists of one length, its best epoch within."""
    shape = {"val_accuracy": [NUMBER], "accuracy?": [NUMBER], "best_epoch": int}
    if json_files.misfit(value, shape) is not None:
        return False
    count = len(value["val_accuracy"])
    return 1 <= value["best_epoch"] <= count == len(value.get("accuracy", value["val_accuracy"]))


_FIGURES = {
    "accuracy": NUMBER,
    "negative_log_likelihood": NUMBER,
    "expected_calibration_error": NUMBER,
    "agreement_with_teacher?": NUMBER,
}


def _shares(value):
    """Return whether there is a number for each of at least one class."""
    return json_files.misfit(value, [NUMBER]) is None and len(value) > 0


_BY_CLASS = {**_FIGURES, "per_class_accuracy": _shares}
# A teacher of the user's has no epochs; where soft labels stand for it there is none.
_MODEL = {"parameters": int, "bytes?": (int, None), "epochs?": int, "test": _FIGURES}
_MODELS = {"teacher?": _MODEL, "student_alone": _MODEL, "student": _MODEL, str: _MODEL}
_SPREAD = {"mean": NUMBER, "std": (*NUMBER, None)}
_SPREADS = {"parameters": int, "bytes?": (int, None), "test": dict.fromkeys(_FIGURES, _SPREAD)}
_MODEL_OF_SEEDS = (_MODEL, _SPREADS)
_GAIN = {
    **_SPREAD,
    "values": [NUMBER],
    "interval_95": (interval, None),
    "verdict": str,
    "seeds_needed": (int, None),
}
_GAINS = {"accuracy": _GAIN, "negative_log_likelihood": _GAIN, "agreement_with_teacher?": _GAIN}
_HEAD = {
    "recipe": str,
    "seconds": NUMBER,
    "data": {"name": str, "class_names": [str], "validation": int, "test": int},
}
_LITERT = {
    "bytes": int,
    "images": int,
    "accuracy": NUMBER,
    "agreement_with_keras": NUMBER,
    "microseconds_per_image": NUMBER,
}
_SETTINGS = {"loss": str, "temperature?": (*NUMBER, None), "alpha?": NUMBER}
_TRIAL = {
    "name": str,
    "state": lambda state: state in ("complete", "pruned"),
    "value": NUMBER,
    "epochs": int,
    "settings": _SETTINGS,
    "validation?": _FIGURES,
}
_RESULTS = {
    "run": {
        **_HEAD,
        "seed": int,
        "models": _MODELS,
        "gain": {"accuracy": NUMBER, "interval_95": interval},
        "litert?": _LITERT,
        "not_exported?": str,
        "curves": {str: _curves},
    },
    "compare": {
        **_HEAD,
        "seeds": [int],
        "models": {
            **dict.fromkeys(("teacher?", "student_alone", "label_smoothing", "student"), _SPREADS),
            str: _SPREADS,
        },
        "gains": {"student_alone": _GAINS, "label_smoothing": _GAINS},
        "verdict": str,
    },
    "seed": {"curves": {str: _curves}},
    "sweep": {
        **_HEAD,
        "seed": int,
        "models": _MODELS,
        "curves": {str: _curves},
        "best": str,
        "validation": {"teacher?": _BY_CLASS, "student_alone": _BY_CLASS},
        "cells": [
            {
                "name": str,
                "loss": str,
                "temperature": (*NUMBER, None),
                "alpha": NUMBER,
                "epochs": int,
                "validation": _BY_CLASS,
            }
        ],
    },
    "search": {
        **_HEAD,
        "seed": int,
        "models": _MODELS,
        "curves": {str: _curves},
        "best": str,
        "space": _ANY,
        "validation": {"teacher?": _FIGURES, "student_alone": _FIGURES},
        "trials": [_TRIAL],
    },
    "distill": {
        **_HEAD,
        "seeds": [int],
        "models": {"student": _MODEL_OF_SEEDS, str: _MODEL_OF_SEEDS},
        "gain?": {"accuracy": NUMBER, "interval_95": interval},
        "gains?": {str: _GAINS},
        "verdict?": (str, None),
        "export?": {
            "files": [({"file": str, "bytes": int, "accuracy": (*NUMBER, None)}, {"failed": str})]
        },
        "to_ship?": (str, None),
    },
}
# What a run leaves beside its `config.json`, so that a damaged one is known as a run's.
_TRACES = ("results.json", "*_history.csv", "*.checkpoint.npz", "predictions.npz")


def read_config(folder):
    """Return `config.json` of a folder as a dict, or `None` if there is none of ours.

    Raises:
        ValueError: if there is one of ours that is damaged, or cannot be read.
    """
    found = read_head(folder)
    if found is None:
        return None
    options = _OPTIONS[found["kind"]]
    reason = json_files.misfit(found["options"], options)
    unknown = set() if str in options else found["options"].keys() - _names(options)
    if unknown:
        reason = f"which is damaged: `{min(unknown)}` is no option of a {found['kind']}"
    if reason is not None:
        raise _damaged_config(folder, reason)
    return found


def read_head(folder):
    """Return what `read_config` does, with whatever options: its kind and recipe are known."""
    path = Path(folder) / "config.json"
    try:
        found = json_files.parsed(path)
    except FileNotFoundError:
        # Where the former version kept a distillation that was not finished.
        if os.path.lexists(path.parent / "unfinished" / path.name):
            raise _of_former_version(folder) from None
        return None
    except ValueError as error:
        raise _damaged_config(folder, error) from error
    # Others write files of that name too, and hardly an empty one beside files such as ours.
    if isinstance(found, dict) and found:
        ours = not found.keys().isdisjoint(("kind", "recipe", "options"))
    else:
        ours = any(any(path.parent.glob(trace)) for trace in _TRACES)
    reason = json_files.misfit(found, _CONFIG) if ours else None
    if reason is not None:
        raise _damaged_config(folder, reason)
    if not ours:
        return None
    if found["kind"] == "distill" and "seeds" not in found["options"]:
        raise _of_former_version(folder)
    # An earlier version wrote down the password of a search's storage.
    found["command"] = without_password(found["command"])
    if isinstance(found["options"].get("storage"), str):
        found["options"]["storage"] = without_password(found["options"]["storage"])
    return found


def read_results(folder, kind=None):
    """Return `results.json` of a folder as a dict, or `None` if there is none.

    Args:
        folder: the folder of a run.
        kind: what the folder holds, see `folder.begin`; if `None`, any dict will do.

    Raises:
        ValueError: if it is damaged, or cannot be read.
    """
    path = Path(folder) / "results.json"
    what, way_out = "The results of a run", "Remove it: `keras-kd resume` then makes it again."
    results = json_files.read_json(path, _RESULTS.get(kind, _ANY), what=what, way_out=way_out)
    if results is None:
        return None
    found = next((each for each in ("cells", "trials") if each in results), None)
    if (
        kind is not None
        and found
        and results["best"]
        not in [each["name"] for each in results[found] if each.get("validation")]
    ):
        raise ValueError(
            f"{what} must be as it was written. Received: {path}, which is damaged: `best` is "
            f"none of its {found}. {way_out}"
        )
    if kind is not None and found == "cells" and not _is_grid(results["cells"]):
        raise ValueError(
            f"{what} must be as it was written. Received: {path}, which is damaged: its cells are "
            f"no grid. {way_out}"
        )
    return results


def _is_grid(cells):
    """Return whether each loss has one cell for each pair of its temperatures and alphas."""
    pairs = {}
    for cell in cells:
        pairs.setdefault(cell["loss"], []).append((cell["temperature"], cell["alpha"]))
    return all(
        len(found) == len(set(found)) == len({t for t, _ in found}) * len({a for _, a in found})
        for found in pairs.values()
    )


def _names(shape):
    return {name.removesuffix("?") for name in shape}


def _of_former_version(folder):
    return FormerVersionError(
        f"A distillation must be of this version. Received: {folder}, written by keras_kd 0.1. Its "
        "models and files serve as they are; to go on, distil into another folder."
    )


def _damaged_config(folder, reason):
    return ValueError(
        f"The record of a run must be as it was written. Received: {Path(folder) / 'config.json'}, "
        f"{reason}. Remove it: the command that began the run then goes on with what is trained."
    )
