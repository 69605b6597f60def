"""What weights are made of: the settings that tell one training from another, as a digest."""

import hashlib
import json

import keras

# Of a distiller's configuration: what a recipe says by itself, and what holds models.
_SAID_ELSEWHERE = (
    "name", "student", "distillation_loss", "distillation_loss_weights", "alpha",
    "teacher_fingerprint", "teacher_shapes",
)  # fmt: skip
_MODELS = {"students", "discriminator", "discriminators"}


def description(distiller):
    """Return what the weights of a new distiller will depend on beside the data, for JSON.

    Args:
        distiller: a compiled `Distiller`, not trained yet.
    """
    return [
        _numbered(distiller.student),
        [hashlib.sha256(weight.tobytes()).hexdigest() for weight in distiller.get_weights()],
        _without_names({**distiller.get_config(), "student": None}),
        *(_without_names(optimizer.get_config()) for optimizer in distiller.optimizers()),
    ]


def settings_of(distiller):
    """Return what a distiller was told beside loss and alpha, for JSON; its models as digests."""
    config = {
        key: value for key, value in distiller.get_config().items() if key not in _SAID_ELSEWHERE
    }
    digests = {key: digest_of(_without_names(config[key])) for key in _MODELS & config.keys()}
    return {"class": type(distiller).__name__, **config, **digests}


def architecture(model):
    """Return a digest of a model's layers, whatever they are called and their weights are."""
    return digest_of(_numbered(model))


def digest_of(*parts):
    """Return the SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _without_names(config):
    """Return a configuration without the names that Keras gives and counts up by itself."""
    if isinstance(config, dict):
        return {key: _without_names(part) for key, part in config.items() if key != "name"}
    return [_without_names(part) for part in config] if isinstance(config, list) else config


def _numbered(model):
    """Return a model's configuration with its layers numbered, whatever they are called."""
    config = keras.saving.serialize_keras_object(model)
    numbers = {
        name: f"layer {number}"
        for number, name in enumerate(dict.fromkeys(_names_of_layers(config)))
    }

    def renamed(part):
        if isinstance(part, dict):
            return {key: renamed(value) for key, value in part.items()}
        if isinstance(part, (list, tuple)):
            return [renamed(value) for value in part]
        return numbers.get(part, part) if isinstance(part, str) else part

    return renamed(config)


def _names_of_layers(config):
    """Yield the names in a serialised model, in order; those of dtypes mean something."""
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict) and "DTypePolicy" not in config.get("class_name", ""):
            yield from [inner["name"]] if isinstance(inner.get("name"), str) else []
        for part in config.values():
            yield from _names_of_layers(part)
    elif isinstance(config, (list, tuple)):
        for part in config:
            yield from _names_of_layers(part)
