"""A recipe, run: teacher, student distilled, the same student alone, and what they are worth."""

from keras_kd.experiment.recipe import Recipe
from keras_kd.experiment.run import run

__all__ = ["Recipe", "run"]
