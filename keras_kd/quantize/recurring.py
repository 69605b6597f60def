"""Recurrent layers by their steps, one after the other, as a file without loops has them."""

import keras
import numpy as np
from keras import layers, ops

from keras_kd.quantize.made import array, made


def simple_rnn(call, x):
    """Return `h = activation(x W + h U + b)`, step by step."""

    def step(cell, x_t, h, states):
        z = x_t if h is None else ops.add(x_t, cell.recurrent(h))
        return cell.activated("state", z), None

    return _steps(call, x, step)


def lstm(call, x):
    """Return the hidden states of an LSTM.

        i, f, g, o = x W + h U + b
        c = sigmoid(f) c + sigmoid(i) tanh(g)
        h = sigmoid(o) tanh(c)

    References:
        S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, 1997.
    """

    def step(cell, x_t, h, c):
        z = x_t if h is None else ops.add(x_t, cell.recurrent(h))
        i, f, g, o = ops.split(z, 4, axis=-1)
        new = ops.multiply(cell.gate("input", i), cell.activated("candidate", g))
        c = new if c is None else ops.add(ops.multiply(cell.gate("forget", f), c), new)
        return ops.multiply(cell.gate("output", o), cell.activated("cell", c)), c

    return _steps(call, x, step)


def gru(call, x):
    """Return the hidden states of a GRU.

        z, r = sigmoid(x W + h U + b)
        g = tanh(x W_g + r (h U_g + b_g)), or, reset before the product, tanh(x W_g + (r h) U_g)
        h = g + z (h - g)

    References:
        K. Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014.
    """
    if not call.operation.reset_after:
        return _steps(call, x, _reset_before)

    def step(cell, x_t, h, _):
        x_z, x_r, x_g = ops.split(x_t, 3, axis=-1)
        if h is None:
            # Of no state there is the bias alone.
            z, r, g = cell.recurrent_bias
            if g.any():
                x_g = x_g + cell.gate("reset", x_r + r) * g
            new = cell.activated("new", x_g)
            return ops.subtract(new, ops.multiply(cell.gate("update", x_z + z), new)), None
        h_z, h_r, h_g = ops.split(cell.recurrent(h), 3, axis=-1)
        new = ops.multiply(cell.gate("reset", ops.add(x_r, h_r)), h_g)
        new = cell.activated("new", ops.add(x_g, new))
        update = cell.gate("update", ops.add(x_z, h_z))
        return ops.add(new, ops.multiply(update, ops.subtract(h, new))), None

    return _steps(call, x, step)


def _reset_before(cell, x_t, h, _):
    x_z, x_r, x_g = ops.split(x_t, 3, axis=-1)
    if h is None:
        new = cell.activated("new", x_g)
        return ops.subtract(new, ops.multiply(cell.gate("update", x_z), new)), None
    h_z, h_r = ops.split(cell.recurrent(h), 2, axis=-1)
    reset = ops.multiply(cell.gate("reset", ops.add(x_r, h_r)), h)
    new = cell.activated("new", ops.add(x_g, cell.candidate(reset)))
    update = cell.gate("update", ops.add(x_z, h_z))
    return ops.add(new, ops.multiply(update, ops.subtract(h, new))), None


def bidirectional(call, x):
    """Return both directions of a recurrent layer, joined."""
    layer = call.operation
    kinds = {layers.LSTM: lstm, layers.GRU: gru, layers.SimpleRNN: simple_rnn}
    build = kinds.get(type(layer.forward_layer))
    if build is None or layer.merge_mode not in ("concat", "sum", "mul") or not _is_plain(call):
        return None
    ends = [build(_CallOf(each, call), x) for each in (layer.forward_layer, layer.backward_layer)]
    if any(each is None for each in ends):
        return None
    forward, backward = ends
    if layer.return_sequences:
        backward = ops.flip(backward, 1)
    if layer.merge_mode == "concat":
        return layers.Concatenate(name=layer.name)([forward, backward])
    kind = layers.Add if layer.merge_mode == "sum" else layers.Multiply
    return kind(name=layer.name)([forward, backward])


class _CallOf:
    """A call of a layer inside another, given what that is given."""

    def __init__(self, operation, call):
        self.operation, self.args, self.kwargs = operation, call.args, call.kwargs


class _Cell:
    """What the steps of a recurrent layer have in common: its product with the state."""

    def __init__(self, layer):
        self.layer, self.number = layer, 0
        cell = layer.cell
        self.units = cell.units
        kernel, self.recurrent_kernel = array(cell.kernel), array(cell.recurrent_kernel)
        bias = array(cell.bias) if cell.use_bias else None
        self.recurrent_bias = None
        if isinstance(layer, layers.GRU) and not layer.reset_after:
            self.recurrent_kernel, self.candidate_kernel = np.split(
                self.recurrent_kernel, [2 * self.units], axis=1
            )
            own = {"use_bias": False, "trainable": layer.trainable}
            self.candidates = layers.Dense(self.units, name=f"{layer.name}_candidate", **own)
        elif isinstance(layer, layers.GRU):
            recurrent = [0.0 * kernel[0], 0.0 * kernel[0]] if bias is None else bias
            bias, after = recurrent
            self.recurrent_bias = after.reshape(3, -1)
        own = {"use_bias": bias is not None, "trainable": layer.trainable}
        self.inputs = layers.Dense(kernel.shape[1], name=layer.name, **own)
        self.input_weights = [kernel] if bias is None else [kernel, bias]
        self.dense = layers.Dense(
            self.recurrent_kernel.shape[1],
            use_bias=self.recurrent_bias is not None,
            name=f"{layer.name}_recurrent",
            trainable=layer.trainable,
        )

    def recurrent(self, h):
        after = [] if self.recurrent_bias is None else [self.recurrent_bias.reshape(-1)]
        return made(self.dense, [self.recurrent_kernel, *after], h)

    def candidate(self, h):
        return made(self.candidates, [self.candidate_kernel], h)

    def gate(self, name, x):
        return self._activation(name, self.layer.cell.recurrent_activation, x)

    def activated(self, name, x):
        return self._activation(name, self.layer.cell.activation, x)

    def _activation(self, name, activation, x):
        return layers.Activation(activation, name=f"{self.layer.name}_{name}_{self.number}")(x)


def _steps(call, x, step):
    layer = call.operation
    if not _is_plain(call) or layer.return_state or layer.stateful:
        return None
    cell = _Cell(layer)
    inputs = made(cell.inputs, cell.input_weights, x)
    places = range(x.shape[1])
    h, c, states = None, None, []
    for place in reversed(places) if layer.go_backwards else places:
        cell.number = place
        h, c = step(cell, inputs[:, place], h, c)
        states.append(h)
    return ops.stack(states, axis=1) if layer.return_sequences else h


def _is_plain(call):
    """Return whether a layer is given a sequence and nothing else, such as a first state."""
    said = [value for key, value in call.kwargs.items() if key != "training"]
    return len(call.args) == 1 and all(each is None for each in keras.tree.flatten(said))
