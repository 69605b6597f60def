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
            text = with_gains((ROOT / source).read_text(), source)
            write(pages / page, relinked(text, source, page, pages))


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
    from nbconvert import MarkdownExporter

    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = f"notebooks/{source.stem}.md"
        resources = {"output_files_dir": f"{source.stem}_files"}
        text, resources = MarkdownExporter().from_filename(source, resources)
        title, _, rest = text.strip().removeprefix("# ").partition("\n")
        said = f"*This page is a notebook: [{source.name}]({source.name}).*"
        rest = relinked(rest, f"notebooks/{source.name}", page, pages)
        write(pages / page, f"# {title}\n\n{said}\n{told_in_words(rest, title)}")
        shutil.copy(source, pages / "notebooks")
        for name, content in resources["outputs"].items():
            (pages / "notebooks" / name).parent.mkdir(exist_ok=True)
            (pages / "notebooks" / name).write_bytes(content)


def told_in_words(text, heading):
    """Return a notebook's text, where each picture is named after the heading above it."""
    lines = []
    for line in text.splitlines():
        heading = line.removeprefix("## ") if line.startswith("## ") else heading
        lines.append(line.replace("![png](", f"![Drawn above, for: {heading}]("))
    return "\n".join(lines) + "\n"


def write(path, text):
    """Write a page, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
