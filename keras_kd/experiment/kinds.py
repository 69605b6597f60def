"""The kinds of experiments, by name."""

from keras_kd.experiment.compare import Compare
from keras_kd.experiment.distill import Distill
from keras_kd.experiment.run import Run
from keras_kd.experiment.search import Search
from keras_kd.experiment.sweep import Sweep

KINDS = {kind.name: kind for kind in (Run, Compare, Sweep, Search, Distill)}
