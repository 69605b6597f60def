"""Build the documentation site: `make docs`, or `python docs/build.py`. It lies in `build/site`.

Pages are written in `docs/`. Here the others are made: the reference from docstrings and from the
command's own help, results from `benchmarks/`, notebooks, the changelog, and how to contribute.
All of it is copied to `build/docs`, and `zensical` makes the site of that. A warning is an error.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from documents import DOCS, ROOT, add_documents, add_notebooks
from reference import add_reference, public_paths

# The tabs, and what comes first in each. A page that is not named here comes after those, by name.
TABS = {
    "Start": ["index", "start/install", "start/first_student", "start/your_own_model",
              "start/to_the_phone", "start/reading_the_verdict", "start/"],
    "Guides": ["guides/which_loss", "guides/few_labels", "guides/teachers", "guides/soft_labels",
               "guides/quantisation", "guides/pruning", "guides/texts_and_tables",
               "guides/any_model", "guides/keras_hub", "guides/adversarial",
               "guides/several_machines", "guides/your_own_distiller",
               "guides/experiments", "guides/from_keras_distillation", "guides/", "guides/faq"],
    "Theory": ["theory/index", "theory/soft_targets", "theory/the_two_part_loss",
               "theory/what_is_matched", "theory/offline_online_self", "theory/limits", "theory/"],
    "Losses": ["losses"],
    "Notebooks": ["notebooks", "notebooks/"],
    "Reference": ["reference/keras_kd", "reference/command_line", "reference/losses",
                  "reference/"],
    "Results": ["results/index", "results/atlas", "results/recipes", "results/"],
    "Contributing": ["contributing", "changelog"],
}  # fmt: skip


def build(target):
    """Make the site.

    Args:
        target: a folder; the site lies in its `site`, the pages in its `docs`.

    Raises:
        ValueError: if a page names what is not there, or the generator warns.
    """
    pages = target / "docs"
    for folder in (pages, target / "site", target / "theme"):
        shutil.rmtree(folder, ignore_errors=True)
    not_pages = shutil.ignore_patterns("*.py", "*.npz", "*.toml", "__pycache__", "theme")
    shutil.copytree(DOCS, pages, ignore=not_pages)
    shutil.copytree(DOCS / "theme", target / "theme")
    add_documents(pages)
    add_notebooks(pages)
    add_reference(pages)
    (target / "names.json").write_text(json.dumps(public_paths()))
    settings = (DOCS / "zensical.toml").read_text()
    (target / "zensical.toml").write_text(settings + navigation(pages))
    generate(target)


def navigation(pages):
    """Return the settings that name every page, tab by tab; a tab without a page is left out."""
    left = sorted(path.relative_to(pages).as_posix() for path in pages.rglob("*.md"))
    lines = []
    for tab, order in TABS.items():
        named = [f"{entry}.md" for entries in TABS.values() for entry in entries]
        found = []
        for entry in order:
            if entry.endswith("/"):
                found += [page for page in left if page.startswith(entry) and page not in named]
            elif f"{entry}.md" in left:
                found.append(f"{entry}.md")
        left = [page for page in left if page not in found]
        if len(found) == 1:
            lines.append(f"[[project.nav]]\n{json.dumps(tab)} = {json.dumps(found[0])}\n")
        elif found:
            lines.append(f"[[project.nav]]\n{json.dumps(tab)} = {json.dumps(found)}\n")
    if left:
        raise ValueError(f"These pages are on no tab: {', '.join(left)}. Name them in `TABS`.")
    return "\n" + "\n".join(lines)


def generate(target):
    """Call `zensical`.

    Raises:
        ValueError: if it fails, or warns.
    """
    run = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=target,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(DOCS), str(ROOT)]), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    said = run.stdout + run.stderr
    usual = re.compile(r"(Build (started|finished in \S+)|No issues found|)$")
    if run.returncode or not all(usual.match(line) for line in said.splitlines()):
        raise ValueError(f"The site was not built:\n{said}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--target", type=Path, default=ROOT / "build", help="folder to build in")
    target = arguments.parse_args().target
    sys.path.insert(0, str(ROOT))  # This checkout's package, whatever else is installed.
    try:
        build(target)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"To look at the site: python -m http.server --directory {target / 'site'}")
