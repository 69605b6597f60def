"""The losses on labels, one for each output of the student, and which places count."""

import keras
from keras import ops

from keras_kd._common.structures import by_name
from keras_kd.losses import BinaryCrossEntropy, CrossEntropy
from keras_kd.losses.hard import as_loss, as_loss_on_logits, ignored_class
from keras_kd.losses.masks import mask_of, with_mask


def hard_losses_of(loss, heads):
    """Return the hard-label loss of each output, `None` for one that learns no labels.

    Args:
        loss: as in `Distiller.compile`.
        heads: what each output of the student is, `None` for one that no teacher speaks of.

    Raises:
        ValueError: if an output needs a loss and has none, or a loss is none.
    """
    if loss is None:
        untaught = [name for name, head in heads.items() if head is None]
        if untaught:
            raise ValueError(
                f"The output {untaught[0]} has no distillation loss, so it learns from labels "
                f"alone. Received: no loss for them. Pass `loss={{...}}` to `compile`, by output: "
                f"{', '.join(heads)}; one that is left out there learns from no labels."
            )
        return {name: default_hard_loss(head) for name, head in heads.items()}
    if isinstance(loss, (dict, list, tuple)):
        given = by_name(loss, tuple(heads), what="`loss`")
    else:
        given = dict.fromkeys(heads, loss)
    return {name: _as_loss(given.get(name), head) for name, head in heads.items()}


def default_hard_losses(heads):
    """Return the hard-label losses before anything is compiled; `None` where no teacher speaks.

    Args:
        heads: as in `hard_losses_of`.
    """
    return {name: head and default_hard_loss(head) for name, head in heads.items()}


def default_hard_loss(head):
    """Return the hard-label loss of an output, from what the output is."""
    if head == "sigmoid":
        return BinaryCrossEntropy()
    return keras.losses.MeanSquaredError() if head == "values" else CrossEntropy()


def _as_loss(loss, head):
    if loss is None:
        return None
    # What may be no logits is compared as Keras does it.
    return as_loss(loss) if head in (None, "values") else as_loss_on_logits(loss)


def known_labels(labels, hard_loss):
    """Return labels with -1 where the hard-label loss ignores them."""
    ignored = ignored_class(hard_loss)
    if labels is None or ignored is None:
        return labels
    labels = ops.cast(labels, "int32")
    return ops.where(labels == ignored, -1, labels)


def counted(outputs, labels, hard_loss):
    """Return a student's output that counts only where the hard-label loss does not ignore it.

    Args:
        outputs: the student's, `[batch, ..., num_classes]`.
        labels: integers `[batch, ...]` or `[batch, ..., 1]`, or `None`.
        hard_loss: the loss of this output.
    """
    ignored = ignored_class(hard_loss)
    if labels is None or ignored is None:
        return outputs
    if len(labels.shape) == len(outputs.shape) and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, axis=-1)
    if len(labels.shape) != len(outputs.shape) - 1:  # One-hot: no class is ignored.
        return outputs
    counts = ops.cast(labels, "int32") != ignored
    mask = mask_of(outputs)
    return with_mask(outputs, counts if mask is None else counts & mask)


def weights_of(loss_weights, names):
    """Return Keras's `loss_weights` as a dict by output."""
    if loss_weights is None:
        return {}
    if not isinstance(loss_weights, (dict, list, tuple)):
        return dict.fromkeys(names, loss_weights)
    return by_name(loss_weights, names, what="`loss_weights`")


def on_binary_logits(metrics, heads):
    """Return metrics that take the logits of binary outputs for what they are.

    Keras would compare them with a probability of 0.5.

    Args:
        metrics: as in `keras.Model.compile`.
        heads: what each output of the student is.
    """
    by_output = metrics if isinstance(metrics, dict) else None
    if len(heads) > 1 and by_output is None and len(metrics) == len(heads):
        by_output = dict(zip(heads, metrics, strict=True))
    if by_output is None and "sigmoid" in heads.values():
        return keras.tree.map_structure(_on_binary_logits, metrics)
    if by_output is None or "sigmoid" not in heads.values():
        return metrics
    return {
        name: keras.tree.map_structure(_on_binary_logits, each)
        if heads.get(name) == "sigmoid"
        else each
        for name, each in by_output.items()
    }


def measured(metrics, names):
    """Return the names of the outputs that metrics are of.

    Args:
        metrics: as in `keras.Model.compile`.
        names: of the outputs.
    """
    if isinstance(metrics, (list, tuple)) and len(metrics) == len(names) > 1:
        metrics = dict(zip(names, metrics, strict=True))
    if isinstance(metrics, dict):
        return [name for name in names if metrics.get(name)]
    return list(names) if metrics else []


def with_placeholders(labels, outputs, names, of_metrics):
    """Return labels as Keras's metrics want them: one for each output, measured or not.

    Args:
        labels: a structure by output, that may lack some.
        outputs: as the student returned them.
        names: of the outputs.
        of_metrics: those that have metrics.

    Raises:
        ValueError: naming an output that has metrics and no labels.
    """
    given = by_name(labels, names, what="Labels")
    missing = [name for name in names if given.get(name) is None]
    if not missing:
        return labels
    if measured_one := [name for name in missing if name in of_metrics]:
        raise ValueError(
            f"The metrics of the output {measured_one[0]} need labels. Received: labels of "
            f"{', '.join(given)} alone."
        )
    found = by_name(outputs, names, what="The student's outputs")
    whole = {name: found[name] if name in missing else given[name] for name in names}
    return whole if isinstance(outputs, dict) else list(whole.values())


def _on_binary_logits(metric):
    by_word = metric in ("accuracy", "acc", "binary_accuracy")
    return keras.metrics.BinaryAccuracy(name=metric, threshold=0.0) if by_word else metric
