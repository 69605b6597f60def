"""What the converter's `.tflite` file is mended in before it is kept."""

import copy

import numpy as np

# Operations and dtypes in LiteRT's schema.
_DEQUANTIZE, _FULLY_CONNECTED, _MUL, _CAST, _NEG, _QUANTIZE = 6, 9, 18, 53, 59, 114
# Those that give back values that they were given, the first of their inputs.
_MOVES = {
    22: "RESHAPE",
    34: "PAD",
    36: "GATHER",
    39: "TRANSPOSE",
    45: "STRIDED_SLICE",
    69: "TILE",
    105: "REVERSE_V2",
}
_INT16, _INT8, _FLOAT64 = 7, 9, 10


def mended(content, byte_range):
    """Return the converter's file with right biases, negations in integers, and without detours.

    Args:
        content: the file.
        byte_range: what the bytes 0 and 255 stand for, if the file takes a camera's bytes.

    Raises:
        ValueError: if integers are moved to where they mean other values.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for subgraph in model.subgraphs:
        _give_biases_of_their_own(model, subgraph)
        _negate_in_integers(model, subgraph, schema)
        _leave_out_detours(model, subgraph)
        _check_moves(model, subgraph)
        if byte_range is not None:
            _take_bytes_as_they_are(subgraph, byte_range)
    _leave_out_notes(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def integer_operations_in(content):
    """Return the names of LiteRT's operations that a file holds of int8 or int16 values."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    kinds = {
        _kind(model, operator)
        for subgraph in model.subgraphs
        for operator in subgraph.operators
        if any(
            subgraph.tensors[end].type in (_INT8, _INT16)
            for end in _ends(operator.inputs)
            if end >= 0
        )
    }
    return {name for name, kind in vars(schema.BuiltinOperator).items() if kind in kinds}


def _take_bytes_as_they_are(subgraph, byte_range):
    """Have an image's bytes mean the same pixels, however bright the calibration images were.

    The first operation of the file brings them to the steps that it computes in.
    """
    image = subgraph.tensors[subgraph.inputs[0]]
    low, high = byte_range
    scale = (high - low) / 255
    if not np.allclose(_scale(image), scale, rtol=1e-3, atol=0):
        image.quantization = copy.copy(image.quantization)
        image.quantization.scale = np.asarray([scale], "float32")
        image.quantization.zeroPoint = np.asarray([round(-low / scale)], "int64")
        image.quantization.min = image.quantization.max = None


def _give_biases_of_their_own(model, subgraph):
    """Give each matrix product the bias in steps of its own, `scale of inputs * scale of weights`.

    One bias of several products (a GRU has one in each of its unrolled steps) comes out of the
    older of the converter's two quantisers in the steps of the first.
    """
    for operator in subgraph.operators:
        if _kind(model, operator) != _FULLY_CONNECTED:
            continue
        inputs, weights, bias = (subgraph.tensors[each] for each in operator.inputs[:3])
        if operator.inputs[2] == -1 or not _scale(bias).size:
            continue
        scale = (_scale(inputs) * _scale(weights)).astype("float32")
        if np.allclose(scale, _scale(bias), rtol=1e-3, atol=0):
            continue
        dtype = {2: "int32", 4: "int64"}[bias.type]
        old = np.frombuffer(bytes(model.buffers[bias.buffer].data), dtype)
        new, buffer = copy.copy(bias), copy.copy(model.buffers[bias.buffer])
        new.quantization = copy.copy(bias.quantization)
        new.quantization.scale = scale
        buffer.data = np.round(old * (_scale(bias) / scale)).astype(dtype).view("uint8")
        new.buffer = len(model.buffers)
        model.buffers.append(buffer)
        operator.inputs = np.asarray(operator.inputs).copy()
        operator.inputs[2] = len(subgraph.tensors)
        subgraph.tensors.append(new)


def _check_moves(model, subgraph):
    """Refuse integers that are moved, and called values of other steps without being changed.

    The converter does so with a reversal before a change of steps.
    """
    for operator in subgraph.operators:
        name = _MOVES.get(_kind(model, operator))
        if name is None:
            continue
        taken, returned = (
            subgraph.tensors[int(each[0])] for each in (operator.inputs, operator.outputs)
        )
        if taken.type in (_INT8, _INT16) and not (
            np.allclose(_scale(taken), _scale(returned), rtol=1e-3, atol=0)
            and np.array_equal(_zero_point(taken), _zero_point(returned))
        ):
            raise ValueError(
                f"An integer file must keep the steps of what it moves. Received: a {name} from "
                f"steps of {_scale(taken)} to {_scale(returned)}, as LiteRT's converter made it. "
                "The file was not kept. Distil the model as integers (`quantize.prepare`)."
            )


def _negate_in_integers(model, subgraph, schema):
    """Have integers negated as such, which the converter does in float32 between two casts.

    A LayerNormalization negates its mean. Times -1 is what an integer kernel can do instead.
    """
    makers = {int(end): each for each in subgraph.operators for end in each.outputs}
    mended = False
    for operator in list(subgraph.operators):
        if (
            _kind(model, operator) != _NEG
            or (before := makers.get(int(operator.inputs[0]))) is None
        ):
            continue
        (negated,) = map(int, operator.outputs)
        takers = [each for each in subgraph.operators if negated in _ends(each.inputs)]
        kinds = [_kind(model, each) for each in (before, *takers)]
        if kinds != [_DEQUANTIZE, _QUANTIZE] or negated in _ends(subgraph.outputs):
            continue
        (after,) = takers
        source, target = int(before.inputs[0]), int(after.outputs[0])
        dtype = {_INT8: "int8", _INT16: "int16"}.get(subgraph.tensors[source].type)
        if dtype is None or subgraph.tensors[target].type != subgraph.tensors[source].type:
            continue
        operator.opcodeIndex = _code(model, schema, _MUL, {"int8": 2, "int16": 4}[dtype])
        operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
        operator.builtinOptions = schema.MulOptionsT()
        minus_one = _constant_minus_one(model, subgraph, schema, source, dtype)
        operator.inputs = np.asarray([source, minus_one], "int32")
        operator.outputs = np.asarray([target], "int32")
        subgraph.operators.remove(after)
        if not any(int(before.outputs[0]) in _ends(each.inputs) for each in subgraph.operators):
            subgraph.operators.remove(before)
        mended = True
    if mended:
        _leave_out_unused_tensors(model, subgraph)


def _leave_out_detours(model, subgraph):
    """Leave out the casts to float64 and back that kept a layer in float32 (`quantize.Float32`)."""
    makers = {int(end): each for each in subgraph.operators for end in each.outputs}
    source, casts = {}, []  # By the number of a tensor: that of the one it is a copy of.
    for operator in subgraph.operators:
        between = int(operator.inputs[0]) if _kind(model, operator) == _CAST else None
        if between in makers and subgraph.tensors[between].type == _FLOAT64:
            source[int(operator.outputs[0])] = int(makers[between].inputs[0])
            casts += [operator, makers[between]]
    if source:
        subgraph.operators = [each for each in subgraph.operators if each not in casts]
        for operator in subgraph.operators:
            ends = [source.get(end, end) for end in _ends(operator.inputs)]
            operator.inputs = np.asarray(ends, "int32")
        _leave_out_unused_tensors(model, subgraph)


def _leave_out_unused_tensors(model, subgraph):
    """Number the tensors that something takes or makes anew, and leave out the rest."""
    number = [each is subgraph for each in model.subgraphs].index(True)
    ends = "inputs", "outputs", "intermediates"
    owners = *subgraph.operators, subgraph
    holders = [
        (each, name) for each in owners for name in ends if getattr(each, name, None) is not None
    ]
    used = {end for each, name in holders for end in _ends(getattr(each, name))} - {-1}
    new = {-1: -1} | {old: place for place, old in enumerate(sorted(used))}
    for each, name in holders:
        numbers = [new[end] for end in _ends(getattr(each, name))]
        setattr(each, name, np.asarray(numbers, "int32"))
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == number:
            for end in (*signature.inputs, *signature.outputs):
                end.tensorIndex = new[end.tensorIndex]
    subgraph.tensors = [subgraph.tensors[old] for old in sorted(used)]


def _constant_minus_one(model, subgraph, schema, like, dtype):
    """Return the number of a new tensor that holds -1, in the dtype of another."""
    largest = int(np.iinfo(dtype).max)
    buffer = schema.BufferT(data=np.asarray([-largest], dtype).view("uint8"))
    tensor = copy.copy(subgraph.tensors[like])
    tensor.shape, tensor.shapeSignature = np.asarray([1], "int32"), None
    tensor.quantization = schema.QuantizationParametersT(
        scale=np.asarray([1 / largest], "float32"), zeroPoint=np.asarray([0], "int64")
    )
    tensor.buffer, tensor.isVariable = len(model.buffers), False
    model.buffers.append(buffer)
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1


def _code(model, schema, kind, version):
    """Return the number of an operation of this version, which is added where it is missing."""
    for number, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == kind and code.version >= version:
            return number
    code = schema.OperatorCodeT(deprecatedBuiltinCode=kind, builtinCode=kind, version=version)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _kind(model, operator):
    code = model.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _ends(numbers):
    return [int(number) for number in numbers]


def _scale(tensor):
    scale = tensor.quantization and tensor.quantization.scale
    return np.asarray([] if scale is None else scale, "float64")


def _zero_point(tensor):
    zero_point = tensor.quantization and tensor.quantization.zeroPoint
    return np.asarray([] if zero_point is None else zero_point, "int64")


def _leave_out_notes(model):
    """Leave out what no runtime reads: names of inner tensors, how the file was converted.

    In a small model they weigh: 0.7 KB, beside 20 KB of int8 weights. The names of the
    signature and of its ends stay.
    """
    model.description = None
    for subgraph in model.subgraphs:
        subgraph.name = None
        for tensor in subgraph.tensors:
            tensor.name = None
    notes = model.metadata or []
    model.metadata = [note for note in notes if note.name != b"CONVERSION_METADATA"]
    _leave_out_unused_buffers(model)


def _leave_out_unused_buffers(model):
    """Have everything without data share the first buffer, which is there to be empty."""
    buffers, places = [model.buffers[0]], {}
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    for owner in (*tensors, *model.metadata):
        buffer = model.buffers[owner.buffer]
        if buffer.data is None and not buffer.offset:
            owner.buffer = 0
            continue
        if owner.buffer not in places:
            places[owner.buffer] = len(buffers)
            buffers.append(buffer)
        owner.buffer = places[owner.buffer]
    model.buffers = buffers
