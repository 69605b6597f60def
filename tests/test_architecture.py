"""The house keeps its order: imports point one way, and only at public names."""

import ast
from pathlib import Path

import keras_kd

PACKAGE = Path(keras_kd.__file__).parent

# A module may import from floors below its own, never from its own floor or above.
FLOORS = [
    {"_common"},
    {"device", "metrics", "schedules", "callbacks", "models", "data", "losses", "quantize", "zoo"},
    {"launchers", "pruning", "teachers"},
    {"export", "soft_labels"},
    {"distillers"},
    {"adversarial"},
    {"runs"},
    {"checking", "serve", "distributed"},
    {"experiment"},
    {"recipes"},
    {"arguments", "judging"},
    {"cli"},
    {"__main__"},
]
FLOOR = {module: number for number, modules in enumerate(FLOORS) for module in modules}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def sources():
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def test_every_room_has_its_floor():
    assert {room_of(path) for path in sources()} == set(FLOOR)


def test_imports_point_one_way():
    for path in sources():
        for name in imports_of(path):
            package, *rest = name.split(".")
            if package == "keras_kd" and rest and rest[0] in FLOOR and rest[0] != room_of(path):
                assert FLOOR[rest[0]] < FLOOR[room_of(path)], f"{path.name} imports {name}"


# By file of the tests, with the reason there.
PRIVATE = {"conftest.py": {"tensorflow.python.framework.ops.gradient_registry"}}


def test_only_public_names_of_keras_and_tensorflow_are_used():
    tests = Path(__file__).parent
    for path in [*sources(), *tests.rglob("*.py")]:
        allowed = PRIVATE.get(str(path.relative_to(tests)), ()) if tests in path.parents else ()
        for name in imports_of(path):
            private = name.startswith(("keras.src", "tensorflow.python"))
            assert not private or name in allowed, f"{path}: {name}"
        if not path.is_relative_to(Path(__file__).parent):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                    private_of_ours = isinstance(node.value, ast.Name) or node.attr.endswith("__")
                    assert private_of_ours, f"{path}:{node.lineno} .{node.attr}"
                asks = isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "getattr",
                    "hasattr",
                )
                if asks and isinstance(node.args[1], ast.Constant):
                    name = node.args[1].value
                    assert not name.startswith("_") or name.endswith("__"), f"{path}: {name}"


def test_every_public_function_and_class_says_what_it_does():
    for path in sources():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
