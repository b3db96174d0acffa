"""A page with scripts and styles beside it, as a built book has them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from polinb.display.webdata import APPS, part_script, web_folder

ASSETS = Path(__file__).parents[2] / "book" / "_assets"
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>part</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width, initial-scale=1">{head}
<style>body {{ background: #fff; color: #222832; font-family: sans-serif; max-width: 50rem; margin: 1rem auto;
padding: 0 1rem; box-sizing: border-box }}</style></head>
<body><main><h1>Part</h1>{body}</main></body></html>"""


def write(folder: Path, body: str, scripts: Sequence[str], styles: Sequence[str] = (), name: str = "index.html") -> str:
    """The page's address; ``dom.js`` comes before its scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts = ("dom.js", *scripts)
    for place in (web_folder(), ASSETS):
        for path in place.iterdir():
            if path.name in (*scripts, *styles):
                shutil.copy(path, folder)
    head = "".join(f'<link rel="stylesheet" href="{style}">' for style in styles)
    head += "".join(f'<script defer src="{script}"></script>' for script in scripts)
    (folder / name).write_text(PAGE.format(head=head, body=body), "utf-8")
    return (folder / name).as_uri()


def saved(page, button: str) -> tuple[str, bytes]:
    """Name and content of the file that a click on ``button`` saves."""
    with page.expect_download() as waiting:
        page.click(button)
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def write_app(folder: Path, app: str, body: str, name: str = "index.html") -> str:
    """A page with an interactive part of the book."""
    address = write(folder, body, [f"{app}.js"], APPS[app][1], name)
    (folder / f"{app}.js").write_text(part_script(app), "utf-8")
    return address
