"""What a user sees of the package: every public name, and nothing that it is made with."""

import ast
import importlib
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import keras
import pytest

import keras_kd as kd

PACKAGE = Path(kd.__file__).parent
PUBLIC = ("", *(f".{name}" for name in kd.__all__ if inspect.ismodule(getattr(kd, name))))
# Kinds of things that a user hands over, and those of ours that nobody does.
KINDS = (
    kd.Distiller,
    kd.adversarial.GeneratorTerm,
    keras.callbacks.Callback,
    keras.distillation.DistillationLoss,
    keras.optimizers.schedules.LearningRateSchedule,
)
NOT_HANDED_OVER = {
    "ForeignLoss": "made around a loss of Keras",
    "KeptTeacher": "made by `fit`",
}

# Methods that a user calls without their names.
CALLED = ("__call__", "__init__", "__len__")


def public(room):
    return importlib.import_module(f"keras_kd{room}")


@pytest.mark.parametrize("room", PUBLIC)
def test_dir_shows_the_public_names_and_no_other(room):
    module = public(room)
    assert dir(module) == sorted(set(module.__all__))
    for name in module.__all__:
        assert not name.startswith("_") or name == "__version__", name
        member = getattr(module, name)
        if not isinstance(member, (str, tuple)):  # Constants are said where they are used.
            assert inspect.getdoc(member), name


def public_functions():
    """Yield every public function, and every public method of a public class, with its name."""
    for room in PUBLIC:
        for name in dir(public(room)):
            member = getattr(public(room), name)
            if inspect.isfunction(member):
                yield f"{room}.{name}", member
            for kind in inspect.getmro(member) if inspect.isclass(member) else ():
                for attribute, found in vars(kind).items():
                    found = getattr(found, "fget", getattr(found, "__func__", found))
                    is_ours = kind.__module__.startswith("keras_kd.") and inspect.isfunction(found)
                    is_public = not attribute.startswith("_") or attribute in CALLED
                    if is_ours and is_public and found.__module__ == kind.__module__:
                        yield f"{room}.{name}.{attribute}", found


def test_public_signatures_have_hints():
    lacking = set()
    for name, function in public_functions():
        # Where an import would go round in a circle, it is for type checkers alone.
        hints = typing.get_type_hints(function, localns={"Recipe": kd.experiment.Recipe})
        parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
        returns = set() if name.endswith("__init__") else {"return"}
        lacking |= {f"{name}: {each}" for each in (parameters | returns) - set(hints)}
    assert not lacking


def test_every_argument_of_a_public_name_is_told():
    untold = set()
    for room in PUBLIC:
        for name in dir(public(room)):
            member = getattr(public(room), name)
            made = member.__init__ if inspect.isclass(member) else member
            if not inspect.isfunction(made) or not made.__module__.startswith("keras_kd."):
                continue
            said = inspect.getdoc(member)
            for each in inspect.signature(made).parameters.values():
                is_named = each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
                if is_named and each.name != "self" and f"\n    {each.name}: " not in said:
                    untold.add(f"{room}.{name}: {each.name}")
    assert not untold


def test_what_a_user_hands_over_is_public():
    shown = {name for room in PUBLIC for name in dir(public(room))}
    hidden = set()
    for path in PACKAGE.rglob("[!_]*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        module = importlib.import_module(".".join(("keras_kd", *parts)))
        for name, member in vars(module).items():
            ours = inspect.isclass(member) and member.__module__ == module.__name__
            if ours and issubclass(member, KINDS) and not name.startswith("_"):
                hidden |= {name} - shown
    assert hidden == set(NOT_HANDED_OVER)


def test_type_checkers_find_what_the_package_finds():
    (block,) = (
        node for node in ast.parse(Path(kd.__file__).read_text()).body if isinstance(node, ast.If)
    )
    found = {alias.asname: (node.module, alias.name) for node in block.body for alias in node.names}
    assert set(found) == set(kd.__all__) - {"__version__"}
    for name, (module, attribute) in found.items():
        assert getattr(importlib.import_module(module), attribute) is getattr(kd, name)
    assert (PACKAGE / "py.typed").is_file()


def test_nothing_heavy_is_imported_to_show_it():
    code = (
        "import sys, keras_kd; dir(keras_kd); "
        "print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"
