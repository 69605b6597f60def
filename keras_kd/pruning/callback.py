"""Channels that go while a student is trained."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd._common.checks import check_choice, check_integer, check_part
from keras_kd._common.typing import Config
from keras_kd.pruning import scores
from keras_kd.pruning.channels import FOLLOWS, channels_of, graph_to_prune

_CRITERIA = ("l1", "taylor")


class Pruning(keras.callbacks.Callback):
    """Sets whole channels of a student to zero while `fit` trains it, until few enough are left.

    At the begin of an epoch the channels of least score are set to zero: filters of a convolution,
    units of a dense layer, with their biases, BatchNormalization, and the weights that read them.
    What a sum or a product joins goes together. They stay zero; the others learn on. After `e` of
    `epochs` epochs

        multiply-adds left = target + (1 - target) * (1 - e / epochs)^3

    of the student's own (Zhu and Gupta 2018, equation 1). The same share goes from every layer.
    `fit` trains on after these epochs: as many again is a good beginning. Then `shrink` takes what
    is left. Keep no weights from before: give `EarlyStopping` `start_from_epoch=epochs`.

    The logs hold `multiply_adds`, the share that is left. A training that is interrupted goes on
    from the zeros that it finds.

    Args:
        multiply_adds: share of the student's multiply-adds to be left at the end, above 0 and
            below 1.
        epochs: epochs after which the target is reached, at least 1.
        criterion: `"l1"`, by the L1 norm of filters (Li et al. 2017), or `"taylor"`, by the first
            order of the loss (Molchanov et al. 2019).
        data: for `"taylor"`: batches of images and labels such as the student is trained on, a
            `tf.data.Dataset` or a list; all are gone through in each epoch, and a few will do.

    Raises:
        ValueError: if an argument does not fit; at the begin of training, if the student has no
            channels that may go, or too few for this target.

    Example:

    ```python
    import keras_kd as kd

    data = kd.data.load("digits", seed=0)
    batches = data.train.batches(32, shuffle_seed=0)
    student = kd.models.conv_net([16, 32], image_shape=data.image_shape)
    distiller = kd.Distiller(student=student, alpha=0).compile("adam", metrics=["accuracy"])
    pruning = kd.pruning.Pruning(multiply_adds=0.5, epochs=2)
    distiller.fit(batches, epochs=3, callbacks=[pruning], verbose=0)
    small = kd.pruning.shrink(student)
    kd.export.litert(small, "small.tflite")
    ```

    References:
        H. Li et al., Pruning Filters for Efficient ConvNets, 2017.
        P. Molchanov et al., Importance Estimation for Neural Network Pruning, 2019.
        M. Zhu, S. Gupta, To prune, or not to prune, 2018, section 3.
        G. Fang et al., DepGraph: Towards Any Structural Pruning, 2023.
    """

    def __init__(
        self,
        multiply_adds: float = 0.5,
        *,
        epochs: int,
        criterion: str = "l1",
        data: Any = None,
    ):
        super().__init__()
        check_part("multiply_adds", multiply_adds)
        check_integer("epochs", epochs, minimum=1)
        check_choice("criterion", criterion, _CRITERIA)
        if (criterion == "taylor") != (data is not None):
            raise ValueError(
                "`data` is what `criterion='taylor'` finds gradients on, and no other takes it. "
                f"Received: criterion={criterion!r} and data={data!r}."
            )
        self.multiply_adds, self.epochs = multiply_adds, epochs
        self.criterion, self.data = criterion, data
        # Of the training that runs: the student, its channels, what they cost in all, and by the
        # id of each variable its mask and the constraint that it had.
        self.student = self.channels = self.whole = None
        self.masks: dict[int, Any] = {}

    def on_train_begin(self, logs: Config | None = None) -> None:
        if self.params["epochs"] <= self.epochs:
            raise ValueError(
                "`fit` must go on after the epochs in which channels go. Received: "
                f"fit(epochs={self.params['epochs']}) and Pruning(epochs={self.epochs}). Train for "
                f"{2 * self.epochs} epochs."
            )
        students = getattr(self.model, "students", ())
        if len(students) > 1:
            raise ValueError(
                "`Pruning` prunes one student. Received: a model that trains "
                f"{len(students)}. Distil the one to be pruned by itself."
            )
        self.student = getattr(self.model, "student", self.model)
        self.channels = channels_of(graph_to_prune(self.student))
        self.whole = self.channels.cost()
        self._check_reach()
        for slot in self.channels.slots:
            key = id(slot.variable)
            if slot.role != FOLLOWS and key not in self.masks:
                self.masks[key] = _Mask(slot.variable)
        # What was traced before knows of no masks.
        self.model.make_train_function(force=True)

    def on_epoch_begin(self, epoch: int, logs: Config | None = None) -> None:
        gone = self.channels.dead()
        left = max(1 - epoch / self.epochs, 0.0)
        target = self.multiply_adds + (1 - self.multiply_adds) * left**3
        if self.channels.cost(gone) > target * self.whole:
            gone |= self._least(target * self.whole, gone)
        for slot in self.channels.slots:
            if slot.role != FOLLOWS:
                self.masks[id(slot.variable)].set(slot, gone)
        for mask in self.masks.values():
            mask.apply()

    def on_epoch_end(self, epoch: int, logs: Config | None = None) -> None:
        if logs is not None:
            logs["multiply_adds"] = self.channels.cost(self.channels.dead()) / self.whole

    def on_train_end(self, logs: Config | None = None) -> None:
        for mask in self.masks.values():
            mask.take_off()
        self.masks = {}
        self.model.make_train_function(force=True)

    def _check_reach(self):
        """Refuse a target that no choice of channels reaches."""
        if not self.channels.groups:
            raise ValueError(
                "A student to prune must have a convolution or a dense layer whose channels other "
                f"layers read. Received: {self.student.name}, which has none."
            )
        least = {int(each) for own in self.channels.groups.values() for each in own[1:]}
        share = self.channels.cost(least) / self.whole
        if share > self.multiply_adds:
            raise ValueError(
                f"`multiply_adds` must be at least {share:.4f} for {self.student.name}, where one "
                f"channel a layer is left. Received: multiply_adds={self.multiply_adds}."
            )

    def _least(self, most, gone):
        """Return the channels of least score without which the rest costs at most this."""
        if self.criterion == "l1":
            score = scores.l1(self.channels)
        else:
            score = scores.taylor(self.channels, self.student, self.data)
        # What is gone already comes first.
        ranked = [
            sorted(own.tolist(), key=lambda each: (each not in gone, score[each]))
            for own in self.channels.groups.values()
        ]

        def chosen(share):
            return {
                each for own in ranked for each in own[: min(round(share * len(own)), len(own) - 1)]
            }

        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            enough = self.channels.cost(chosen(middle)) <= most
            low, high = (low, middle) if enough else (middle, high)
        return chosen(high)


class _Mask:
    """Keeps parts of a variable at zero, after each step of the optimizer, as its constraint.

    Args:
        variable: a `keras.Variable`, whose own constraint comes first.
    """

    def __init__(self, variable):
        # A training that was broken off left its mask.
        own = variable.constraint
        self.variable, self.own = variable, own.own if isinstance(own, _Mask) else own
        self.kept = keras.Variable(np.ones(variable.shape, bool), dtype="bool", trainable=False)
        self.variable.constraint = self

    def __call__(self, value):
        value = value if self.own is None else self.own(value)
        return ops.where(self.kept, value, ops.zeros_like(value))

    def set(self, slot, gone):
        """Keep zeros at the channels along one axis that are gone."""
        along = ~np.isin(slot.channels, list(gone))
        shape = [1] * len(self.variable.shape)
        shape[slot.axis] = -1
        self.kept.assign(ops.logical_and(self.kept, along.reshape(shape)))

    def apply(self):
        self.variable.assign(ops.where(self.kept, self.variable, ops.zeros_like(self.variable)))

    def take_off(self):
        self.variable.constraint = self.own
