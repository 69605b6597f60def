"""Pages of the site that are written by hand, here or elsewhere in the repository, and notebooks.

Called by `build.py`.
"""

import json
import os
import re
import shutil
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks" / "results"
HOME = tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["repo_url"]


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
    """Write the pages of documents, their figures filled in; their links hold on the site too."""
    for source, page in documents().items():
        if source.endswith(".md"):
            text = (ROOT / source).read_text()
            if source.startswith("docs/"):
                text = with_gains(text, source)
            write(pages / page, relinked(text, source, page, pages))


def with_gains(text, page):
    """Return a page with each `{{gain ROW}}` filled from the rows of the atlas and from recipes.

    And each `{{variant NAME}}` from the table of losses.
    """
    rows = json.loads((ROOT / "keras_kd" / "checking" / "atlas.json").read_text())
    gains = {name: (row["gain"], *row["interval_95"]) for name, row in rows.items()}
    for name, recipe in json.loads((RESULTS / "recipes.json").read_text()).items():
        gain = recipe["gains"]["student_alone"]["accuracy"]
        gains[name] = (gain["mean"], *gain["interval_95"])

    def filled(match):
        if match[1] not in gains:
            raise ValueError(
                f"{page}: `{match[0]}` must name a row of benchmarks/results/atlas.json with more "
                f"than one seed, or one of recipes.json there. Known: {', '.join(gains)}."
            )
        return points([100 * share for share in gains[match[1]]])

    return with_variants(re.sub(r"\{\{gain (\w+)\}\}", filled, text), page)


def with_variants(text, page):
    """Return a page with each `{{variant NAME}}` filled from the table of losses."""
    table = (ROOT / "benchmarks" / "recipes.md").read_text().partition("<!-- variants -->")[2]
    table = table.partition("<!-- end of variants -->")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    # The first has names, that of the teacher and that of the student alone have no gain.
    gains = {name: rest[2] for name, *rest in rows[1:] if len(rest) > 2}

    def filled(match):
        if match[1] not in gains:
            raise ValueError(
                f"{page}: `{match[0]}` must name a row of the table of losses in "
                f"benchmarks/recipes.md. Known: {', '.join(gains)}."
            )
        return points([float(number) for number in re.findall(r"[-+][\d.]+", gains[match[1]])])

    return re.sub(r"\{\{variant ([^}]+)\}\}", filled, text)


def points(gain):
    """Return a gain and the two ends of its interval, all in points, as pages say it."""
    mean, low, high = (f"{round(number, 1) + 0.0:.1f}".replace("-", "−") for number in gain)
    return f"{mean} points ({low} to {high})"


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
        is_among_pages = source.startswith("docs/") and path.startswith("docs/")
        if is_among_pages or re.match(r"\w+:|#|$", target):
            return match[0]
        if not (ROOT / path).exists():
            raise ValueError(f"{source}: a link leads to {target}, which does not exist.")
        if path in known:
            return f"{before}{relative(known[path], page)}{anchor}"
        if Path(path).suffix in (".png", ".svg"):
            copy = path.removeprefix("docs/")
            (pages / copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, pages / copy)
            return f"{before}{relative(copy, page)}{anchor}"
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
    import nbformat
    from nbconvert import MarkdownExporter

    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = f"notebooks/{source.stem}.md"
        notebook = nbformat.read(source, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                text = of_a_page(cell.source)
                cell.source = relinked(text, f"notebooks/{source.name}", page, pages)
        resources = {"output_files_dir": f"{source.stem}_files"}
        text, resources = MarkdownExporter().from_notebook_node(notebook, resources)
        for alt in texts_of_pictures(notebook):
            text = text.replace("![png](", f"![{alt}](", 1)
        title, _, rest = text.strip().partition("\n")
        said = f"*This page is a notebook: [{source.name}]({source.name}).*"
        write(pages / page, f"{title}\n\n{said}\n{rest}\n")
        shutil.copy(source, pages / "notebooks")
        for name, content in resources["outputs"].items():
            (pages / "notebooks" / name).parent.mkdir(exist_ok=True)
            (pages / "notebooks" / name).write_bytes(content)


def of_a_page(text):
    """Return a notebook's text: its links lead to pages, and no badge is fetched."""
    text = text.replace(f"{HOME}/blob/main/", "../")
    return re.sub(r"!\[(Open in Colab)\]\(.*?\)", r"\1", text)


def texts_of_pictures(notebook):
    """Yield what is said in place of each picture, by the cell that drew it."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield output.metadata["image/png"]["alt"]


def write(path, text):
    """Write a page, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
