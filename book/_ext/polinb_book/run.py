"""The box "Run this chapter yourself" on every chapter's page: notebook, commands, time, Binder and Colab."""

from __future__ import annotations

import html
import json
import zipfile
from pathlib import Path
from typing import Any

from polinb_book.commands import Run, book_command, papermill_command, read_run
from polinb_book.links import EXAMPLE, Repository, find_repository, parse_address

FOLDER = "chapters/"  # documents that are chapters
ALL = "notebooks.zip"  # beside them
DOWNLOADS = "_downloads/notebooks"  # where the pages keep the notebooks as written


def prepare(app: Any) -> None:
    """Handler of ``builder-inited``: find the repository once; an address that cannot be used is a warning."""
    import os

    from sphinx.util import logging

    root = Path(app.srcdir).parent
    given = (app.config.polinb_repository or os.environ.get("POLINB_REPOSITORY", "")).strip()
    if given and given.lower() != "none" and not parse_address(given):
        # the text itself is not repeated: it may hold a password
        logging.getLogger(__name__).warning(
            "polinb_repository (or POLINB_REPOSITORY) cannot be used; allowed: %s, the same at gitlab.com, or none",
            EXAMPLE,
        )
    app.polinb_found = find_repository(root, app.config.polinb_repository)


def add_box(app: Any, doctree: Any, page: str) -> None:
    """Handler of ``doctree-resolved``: put the box below a chapter's opening paragraphs."""
    from docutils import nodes

    name = chapter_of(app, page)
    sections = [node for node in doctree.children if isinstance(node, nodes.section)]
    if app.builder.format != "html" or not name or not sections:
        return
    chapters = Path(app.srcdir) / "chapters"
    ran = (chapters / f"{name}.json").is_file()
    text = box(
        name,
        read_run(chapters / f"{name}.ipynb") if ran else Run(),
        _seconds(chapters / f"{name}.json") if ran else None,
        ran,
        app.polinb_found,
        top="../" * page.count("/"),
    )
    section = sections[0]
    section.insert(_below_opening(section), nodes.raw("", text, format="html"))


def copy_notebooks(app: Any, failure: Exception | None) -> None:
    """Handler of ``build-finished``: the notebooks as written, one by one for the boxes' links and all in a zip."""
    if failure or app.builder.format != "html":
        return
    target = Path(app.outdir) / DOWNLOADS
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target / ALL, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in filter(None, (chapter_of(app, page) for page in sorted(app.env.found_docs))):
            content = (Path(app.srcdir).parent / "notebooks" / f"{name}.ipynb").read_bytes()
            (target / f"{name}.ipynb").write_bytes(content)
            packed.writestr(zipfile.ZipInfo(f"notebooks/{name}.ipynb"), content)  # no time in it: the same bytes


def box(name: str, run: Run, seconds: float | None, ran: bool, repository: Repository | None, top: str = "../") -> str:
    """The box as HTML.

    Args:
        name: the notebook's name without ``.ipynb``.
        run: with which parameters the chapter ran.
        seconds: how long it took; None if that is not known.
        ran: whether it ran at all.
        repository: where the project can be had from; None gives no buttons.
        top: way from the page to the pages' top folder.
    """
    notebook = f"notebooks/{name}.ipynb"
    parts = [
        '<details class="polinb-run"><summary>Run this chapter yourself</summary>',
        f"<p>{_time(seconds, ran)}</p>",
        f'<p><a href="{top}{DOWNLOADS}/{html.escape(name)}.ipynb" download>Download the notebook</a>, as written and '
        "without outputs. In a checkout of the project, with its environment active (<code>make setup</code>, then "
        "<code>. .venv/bin/activate</code>), this runs it alone"
        f"{' with the parameters of this page' if ran else ''}:</p>",
        _code(papermill_command(notebook, run)),
        f"<p>{_withheld(run)}And this runs it as a part of the book:</p>",
        _code(book_command(name, run)),
        *_elsewhere(notebook, repository),
        "</details>",
    ]
    return "\n".join(part for part in parts if part)


def _elsewhere(notebook: str, repository: Repository | None) -> list[str]:
    if repository is None:
        return [
            '<p class="polinb-run-none">No Binder or Colab button: this build was not told a public address of the '
            f"project. Set <code>polinb_repository: {EXAMPLE}</code> in <code>_config.yml</code>, or "
            "<code>POLINB_REPOSITORY</code>, and build again.</p>"
        ]
    colab = repository.colab(notebook)
    links = [_link(repository.binder(notebook), "Open in Binder"), _link(colab, "Open in Colab") if colab else ""]
    parts = [
        f'<p class="polinb-run-buttons">{" ".join(link for link in links if link)}</p>',
        "<p>These lead to other hosts, and have not been tried with this version. A Binder session has at most 2 GB of "
        'memory: set <code>profile = "tiny"</code> in the parameters cell there.',
    ]
    if colab:
        parts[-1] += " Colab starts without polinb: run these two lines in a first cell, then restart the session.</p>"
        parts.append(
            _code(
                f'%pip install -c {repository.raw("requirements.lock")} "git+{repository.url}@{repository.ref}"\n'
                f"%pip install --no-deps -r {repository.raw('requirements-nodeps.lock')}"
            )
        )
    else:
        parts[-1] += "</p>"
    return parts


def _time(seconds: float | None, ran: bool) -> str:
    if not ran:
        return "This chapter was not run when this book was built."
    if seconds is None:
        return "How long this chapter took was not recorded."
    minutes, rest = divmod(round(seconds), 60)
    took = f"{minutes} min {rest} s" if minutes else f"{max(rest, 1)} s"
    return (
        f"This chapter took <strong>{took}</strong> on the machine that built this book. What other chapters or "
        "earlier runs had computed was read from the store, so a first run on its own takes longer."
    )


def _withheld(run: Run) -> str:
    if not run.withheld:
        return ""
    names = ", ".join(f"<code>{html.escape(name)}</code>" for name in run.withheld)
    return f"Also set in this run, to a value that is not shown (a place on the building machine): {names}. "


def _code(text: str) -> str:
    """A block that the theme's copy button knows."""
    return (
        '<div class="highlight-default notranslate"><div class="highlight"><pre>'
        f"{html.escape(text)}\n</pre></div></div>"
    )


def _link(address: str, text: str) -> str:
    return f'<a class="polinb-launch" href="{html.escape(address)}" rel="noopener noreferrer">{text}</a>'


def chapter_of(app: Any, page: str) -> str:
    """Name of the notebook behind a page; empty if the page is no chapter."""
    name = page.removeprefix(FOLDER)
    notebook = Path(app.srcdir).parent / "notebooks" / f"{name}.ipynb"
    return name if page.startswith(FOLDER) and notebook.is_file() else ""


def _seconds(record: Path) -> float | None:
    try:
        return float(json.loads(record.read_text("utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _below_opening(section: Any) -> int:
    """Index behind the title and the first paragraphs, and behind a note that ends them."""
    from docutils import nodes

    for index, node in enumerate(section.children):
        if isinstance(node, nodes.Admonition):
            return index + 1
        if not isinstance(node, (nodes.title, nodes.paragraph, nodes.target, nodes.comment)):
            return index
    return len(section.children)
