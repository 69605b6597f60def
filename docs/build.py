"""Build the documentation site: `make docs`, or `python docs/build.py`. It lies in `build/site`.

Pages are written in `docs/`. Here the others are made: the reference from docstrings and from the
command's own help, results from `benchmarks/`, notebooks, the changelog, and how to contribute.
All of it is copied to `build/docs`, and `zensical` makes the site of that. A warning is an error.
"""

import argparse
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOME = tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["repo_url"]

# The tabs, and what comes first in each. A page that is not named here comes after those, by name.
TABS = {
    "Start": ["index", "start/install", "start/first_student", "start/your_own_model",
              "start/to_the_phone", "start/reading_the_verdict", "start/"],
    "Guides": ["guides/which_loss", "guides/teachers", "guides/soft_labels", "guides/few_labels",
               "guides/quantisation", "guides/adversarial", "guides/several_machines",
               "guides/your_own_distiller", "guides/any_model", "guides/experiments",
               "guides/from_keras_distillation", "guides/", "guides/faq"],
    "Theory": ["theory/index", "theory/soft_targets", "theory/the_two_part_loss",
               "theory/what_is_matched", "theory/offline_online_self", "theory/limits", "theory/"],
    "Losses": ["losses"],
    "Notebooks": ["notebooks/"],
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
    for path in pages.rglob("*.md"):
        path.write_text(with_gains(path.read_text(), path.relative_to(pages)))
    add_documents(pages)
    add_notebooks(pages)
    add_reference(pages)
    add_pages_being_written(pages)
    settings = (DOCS / "zensical.toml").read_text()
    (target / "zensical.toml").write_text(settings + navigation(pages))
    generate(target)


def with_gains(text, page):
    """Return a page with each `{{gain ROW}}` filled from the rows of the atlas."""
    rows = json.loads((ROOT / "keras_kd" / "checking" / "atlas.json").read_text())

    def filled(match):
        row = rows.get(match[1])
        if row is None:
            raise ValueError(
                f"{page}: `{match[0]}` must name a row of benchmarks/results/atlas.json with more "
                f"than one seed. Known: {', '.join(rows)}."
            )
        mean, low, high = (
            f"{round(100 * share, 1) + 0.0:.1f}".replace("-", "−")
            for share in (row["gain"], *row["interval_95"])
        )
        return f"{mean} points ({low} to {high})"

    return re.sub(r"\{\{gain (\w+)\}\}", filled, text)


def documents():
    """Return the page of each document that lies elsewhere, by its path in the repository."""
    found = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
    found |= {f"benchmarks/{path.name}": f"results/{path.name}"
              for path in sorted((ROOT / "benchmarks").glob("*.md"))}  # fmt: skip
    found["benchmarks/README.md"] = "results/index.md"
    found |= {f"notebooks/{path.name}": f"notebooks/{path.stem}.md"
              for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}  # fmt: skip
    found |= {str(path.relative_to(ROOT)): str(path.relative_to(DOCS))
              for path in sorted(DOCS.rglob("*.md"))}  # fmt: skip
    return {source: page for source, page in found.items() if (ROOT / source).is_file()}


def add_documents(pages):
    """Copy results, the changelog, and how to contribute; their links hold on the site too."""
    for source, page in documents().items():
        if source.endswith(".md") and not source.startswith("docs/"):
            write(pages / page, relinked((ROOT / source).read_text(), source, page, pages))


def relinked(text, source, page, pages):
    """Return a document's text, with links as they are from its page.

    A link to a document leads to its page, a picture is copied, and any other file is shown at the
    project's public home.

    Args:
        text: Markdown.
        source: the document's path in the repository.
        page: the path of its page.
        pages: the folder of all pages.
    """
    known = documents()

    def link(match):
        before, target, anchor = match.groups(default="")
        path = os.path.normpath(Path(source).parent / target)
        if re.match(r"\w+:|#|$", target):
            return match[0]
        if not (ROOT / path).exists():
            raise ValueError(f"{source}: a link leads to {target}, which does not exist.")
        if path in known:
            return f"{before}{relative(known[path], page)}{anchor}"
        if Path(path).suffix in (".png", ".svg"):
            copy = path.removeprefix("docs/")
            (pages / copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, pages / copy)
            return f"{before}{relative(copy, page)}"
        return f"{before}{HOME}/blob/main/{path}{anchor}"

    # Code is left as it is: fenced blocks, and what stands between backticks.
    parts = re.split(r"(^```.*?^```|`[^`\n]+`(?!\]))", text, flags=re.MULTILINE | re.DOTALL)
    pattern = r"(\]\()([^)\s#]*)(#[^)\s]*)?(?=\))"
    parts[::2] = [re.sub(pattern, link, part) for part in parts[::2]]
    return "".join(parts)


def relative(target, page):
    """Return the link that leads from a page to another, both as paths among the pages."""
    return Path(os.path.relpath(target, Path(page).parent)).as_posix()


def add_notebooks(pages):
    """Write a page for each notebook, with its pictures, and the notebook beside it."""
    from nbconvert import MarkdownExporter

    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = f"notebooks/{source.stem}.md"
        resources = {"output_files_dir": f"{source.stem}_files"}
        text, resources = MarkdownExporter().from_filename(source, resources)
        title, _, rest = text.strip().partition("\n")
        said = f"*This page is a notebook: [{source.name}]({source.name}).*"
        rest = relinked(rest, f"notebooks/{source.name}", page, pages)
        write(pages / page, f"{title}\n\n{said}\n{rest}")
        shutil.copy(source, pages / "notebooks")
        for name, content in resources["outputs"].items():
            (pages / "notebooks" / name).parent.mkdir(exist_ok=True)
            (pages / "notebooks" / name).write_bytes(content)


def add_reference(pages):
    """Write a page for each public module, every public name on it, and one for the command."""
    for name, module in public_modules().items():
        title = name if name == "keras_kd" else name.removeprefix("keras_kd.")
        parts = [f"# {title}", inspect.getdoc(module)]
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
    from keras_kd.arguments import parser

    os.environ["COLUMNS"] = "88"
    main = parser()
    (commands,) = (action.choices for action in main._actions if isinstance(action.choices, dict))
    parts = ["# The command line", f"```text\n{main.format_help()}```"]
    for name, command in commands.items():
        parts += [f"## keras-kd {name}", f"```text\n{command.format_help()}```"]
    return "\n\n".join(parts) + "\n"


def add_pages_being_written(pages):
    """Write a page for each that is planned and not there, so that links to it hold."""
    for entry in (entry for entries in TABS.values() for entry in entries):
        if not entry.endswith("/") and not (pages / f"{entry}.md").exists():
            write(pages / f"{entry}.md", f"# {entry.rpartition('/')[2]}\n\nBeing written.\n")


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


def write(path, text):
    """Write a page, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--target", type=Path, default=ROOT / "build", help="folder to build in")
    target = arguments.parse_args().target
    try:
        build(target)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"To look at the site: python -m http.server --directory {target / 'site'}")
