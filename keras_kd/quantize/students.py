"""What a student must be to have an integer twin, and the graph that the twin is made of."""

import keras

from keras_kd._common.graph import graph_of, has_graph
from keras_kd._common.inputs import taking, vocabularies
from keras_kd.quantize import roles
from keras_kd.quantize.expanding import expanded
from keras_kd.quantize.kernels import INTEGER_KERNELS


def graph_to_quantise(student):
    """Return the `Graph` of a student, and the sizes of its vocabularies if it takes words.

    Layers that are several steps in the file are these steps in the graph.

    Raises:
        ValueError: if it has no integer twin.
    """
    _check_student(student)
    tables = vocabularies(student)
    # Pixels become real numbers on a grid, whatever they come in; numbers of words stay.
    is_whole = not tables and "float" not in student.inputs[0].dtype
    graph = graph_of(taking(student, "float32") if is_whole else student)
    _check_layers(graph)
    graph = expanded(graph)
    _check_kernels(student, graph)
    return graph, tables


def kernel_names(graph, names):
    """Return the names in a twin of the layers that have integer weights, in their order.

    Args:
        graph: of the student.
        names: its `Names`.
    """
    kernels = [call for call in graph.calls if roles.role_of(call) == roles.KERNEL]
    return list(dict.fromkeys(map(names.of, kernels)))


def weight_bits(model: keras.Model) -> int | None:
    """Return 4 or 8 for a model that `prepare` made, `None` for any other.

    Args:
        model: any `keras.Model`; of one with both, the fewest of any layer count.
    """
    integers = (each for each in getattr(model, "layers", ()) if isinstance(each, INTEGER_KERNELS))
    return min((layer.weight_bits for layer in integers), default=None)


def _check_student(student):
    if not has_graph(student):
        raise ValueError(
            "A student to quantise must be a built Functional or Sequential keras.Model. "
            f"Received: {getattr(student, 'name', type(student).__name__)}."
        )
    if len(student.inputs) != 1 or len(student.outputs) != 1:
        raise ValueError(
            "A student to quantise must have one input and one output. "
            f"Received: {len(student.inputs)} and {len(student.outputs)}."
        )
    if student.inputs[0].dtype == "string":
        raise ValueError(
            f"A student to quantise must take numbers. Received: {student.name}, which takes "
            "strings. Prepare the model behind its TextVectorization or StringLookup."
        )
    if weight_bits(student) is not None:
        raise ValueError(
            f"A student to quantise must be a float model. Received: {student.name}, which "
            "`quantize.prepare` made."
        )


def _check_layers(graph):
    for layer in (call.operation for call in graph.calls):
        if getattr(layer, "compute_dtype", None) not in (None, "float32"):
            raise ValueError(
                "A student to quantise must compute in float32. Received: "
                f"{layer.name} in {layer.compute_dtype}. Build it under the float32 policy and "
                "give it these weights."
            )
        if getattr(layer, "quantization_mode", None) is not None:
            raise ValueError(
                f"A student to quantise must be a float model. Received: {layer.name}, quantised "
                f"to {layer.quantization_mode}. Prepare the model from before `quantize`."
            )


def _check_kernels(student, graph):
    if not any(roles.role_of(call) == roles.KERNEL for call in graph.calls):
        kinds = dict.fromkeys(type(call.operation).__name__ for call in graph.calls)
        raise ValueError(
            "A student to quantise must have layers with an integer twin. Received: "
            f"{student.name} with {', '.join(kinds)}."
        )
