"""What a training step changes beside the models."""


def of_optimizers(distiller):
    """Return the variables of all of a distiller's optimizers, in their order."""
    return [each for optimizer in distiller.optimizers() for each in optimizer.variables]
