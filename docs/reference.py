"""Pages of the reference: from docstrings, and from what the command line says of itself.

Called by `build.py`.
"""

import contextlib
import inspect
import io
import os
import re
import sys

from documents import write


def add_reference(pages):
    """Write a page for each public module, every public name on it, and one for the command."""
    for name, module in public_modules().items():
        title = name if name == "keras_kd" else name.removeprefix("keras_kd.")
        parts = [f"# {name}", inspect.getdoc(module)]
        parts += [directive(f"{name}.{member}") for member in public_names(module)]
        write(pages / "reference" / f"{title}.md", "\n\n".join(parts) + "\n")
    write(pages / "reference" / "command_line.md", command_line())


def public_modules():
    """Return the public modules of the package by their names, the package first."""
    import keras_kd

    found = {"keras_kd": keras_kd}
    for name in keras_kd.__all__:
        if inspect.ismodule(getattr(keras_kd, name)):
            found[f"keras_kd.{name}"] = getattr(keras_kd, name)
    return found


def public_names(module):
    """Return what a public module shows, but for modules, which have a page each."""
    return [
        name
        for name in module.__all__
        if not inspect.ismodule(getattr(module, name)) and name != "__version__"
    ]


def public_paths():
    """Return the path of every public name, the shortest of those that have several."""
    modules = public_modules().items()
    return [f"{name}.{member}" for name, module in modules for member in public_names(module)]


def directive(path):
    """Return what the page of a module says of a public name.

    Where a file has the name of what it holds, the file is found first: then the path is longer,
    and the shorter one is an anchor. A recipe is told of by its file.
    """
    if path not in sys.modules:
        return f"::: {path}"
    if path.startswith("keras_kd.recipes."):
        return (
            f"::: {path}\n    options:\n      members: false\n      show_symbol_type_heading: false"
        )
    return f"[](){{#{path}}}\n\n::: {path}.{path.rpartition('.')[2]}"


def command_line():
    """Return a page of what `keras-kd --help` says, and each of its commands."""
    main = help_of()
    parts = ["# The command line", f"```text\n{main}```"]
    for name in re.findall(r"^    (\w+) ", main.partition("commands:")[2], flags=re.MULTILINE):
        parts += [f"## keras-kd {name}", f"```text\n{help_of(name)}```"]
    return "\n\n".join(parts) + "\n"


def help_of(*command):
    """Return what `--help` says."""
    from keras_kd.arguments import parser

    os.environ["COLUMNS"] = "88"
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        parser().parse_args([*command, "--help"])
    return said.getvalue()
