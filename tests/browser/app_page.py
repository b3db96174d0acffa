"""A page with one interactive part and the scripts beside it, as a built book has them."""

from __future__ import annotations

import shutil
from pathlib import Path

from polinb.display.webdata import APPS, web_folder

PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>part</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width, initial-scale=1">{head}
<style>body {{ background: #fff; color: #222832; font-family: sans-serif; max-width: 50rem; margin: 1rem auto;
padding: 0 1rem; box-sizing: border-box }}</style></head>
<body><main><h1>Part</h1>{body}</main></body></html>"""


def write(folder: Path, app: str, body: str) -> str:
    """The page's address."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts, styles = ("dom.js", *APPS[app][0]), APPS[app][1]
    for name in (*scripts, *styles):
        shutil.copy(web_folder() / name, folder)
    head = "".join(f'<link rel="stylesheet" href="{name}">' for name in styles)
    head += "".join(f'<script defer src="{name}"></script>' for name in scripts)
    (folder / "index.html").write_text(PAGE.format(head=head, body=body), "utf-8")
    return (folder / "index.html").as_uri()
