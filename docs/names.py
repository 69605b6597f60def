"""Public names in pages: code that is one becomes a link to its place in the reference.

`SoftTargets`, `losses.SoftTargets` and `kd.losses.SoftTargets` all lead there. Words that are also
plain English, such as `run` or `get`, lead nowhere alone. An extension of Python-Markdown, named in
`zensical.toml`.
"""

import json
from pathlib import Path
from xml.etree.ElementTree import Element

from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

# What is a link already, a title, or a program.
_LEFT = ("a", "autoref", "pre", "h1", "h2", "h3", "h4", "h5", "h6")


def spellings(paths):
    """Return the path of each way to write a public name that is written for one alone.

    Args:
        paths: as `keras_kd.losses.SoftTargets`.
    """
    found = {}
    for path in paths:
        short, name = path.removeprefix("keras_kd."), path.rpartition(".")[2]
        ways = {path, f"kd.{short}", short if "." in short else path}
        if name != name.lower() or "_" in name:
            ways.add(name)
        for way in ways:
            found.setdefault(way, path)
    return found


class _Links(Treeprocessor):
    def __init__(self, md, known):
        super().__init__(md)
        self.known = known

    def run(self, root):
        for place, child in enumerate(root):
            if child.tag in _LEFT:
                continue
            path = self.known.get(child.text) if child.tag == "code" else None
            if path is None:
                self.run(child)
                continue
            link = Element("autoref", {"identifier": path, "optional": ""})
            link.tail, child.tail = child.tail, None
            root[place] = link
            link.append(child)


class Names(Extension):
    """Links to the public names that a file lists."""

    def __init__(self, **kwargs):
        self.config = {"names": ["names.json", "a list of paths, as JSON"]}
        super().__init__(**kwargs)

    def extendMarkdown(self, md):
        known = spellings(json.loads(Path(self.getConfig("names")).read_text()))
        # After code in a line was found, at 20.
        md.treeprocessors.register(_Links(md, known), "names", 15)


def makeExtension(**kwargs):
    return Names(**kwargs)
