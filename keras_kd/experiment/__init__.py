"""Experiments one can believe: recipes over seeds, that survive a kill and end in a verdict."""

from keras_kd._common.surface import only
from keras_kd.experiment import optimizers
from keras_kd.experiment.compare import compare
from keras_kd.experiment.distill import distill
from keras_kd.experiment.listing import check_run, list_runs, print_runs, resume
from keras_kd.experiment.maps import MapRecipe
from keras_kd.experiment.page import write_report
from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.result import Result
from keras_kd.experiment.run import run
from keras_kd.experiment.search import search
from keras_kd.experiment.sweep import sweep

__all__ = [
    "MapRecipe",
    "Recipe",
    "Result",
    "check_run",
    "compare",
    "distill",
    "list_runs",
    "optimizers",
    "print_runs",
    "resume",
    "run",
    "search",
    "sweep",
    "write_report",
]

__dir__ = only(__all__)
