"""A page with one interactive part and the scripts beside it, as a built book has them."""

from __future__ import annotations

import shutil
from pathlib import Path

from polinb.display.webdata import APPS, web_folder

# what the theme sets in the dark
DARK = (
    "--pst-color-text-base:#ced6dd;--pst-color-text-muted:#9ca4af;--pst-color-border:#48566b;"
    "--pst-color-background:#14181e;--pst-color-surface:#29313d;"
)
PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>part</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width, initial-scale=1">{head}
<style>html {{ {variables} }} body {{ background: {ground}; font-family: sans-serif; max-width: {width};
margin: 1rem auto; padding: 0 1rem; box-sizing: border-box }}</style></head>
<body><main><h1>Part</h1>{body}</main></body></html>"""


def write(folder: Path, app: str, body: str, dark: bool = False, width: str = "none") -> str:
    """The page's address."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts, styles = ("dom.js", *APPS[app][0]), APPS[app][1]
    for name in (*scripts, *styles):
        shutil.copy(web_folder() / name, folder)
    head = "".join(f'<link rel="stylesheet" href="{name}">' for name in styles)
    head += "".join(f'<script defer src="{name}"></script>' for name in scripts)
    ground = "#14181e; color: #ced6dd" if dark else "#fff; color: #222832"
    look = {"theme": "dark" if dark else "light", "variables": DARK if dark else "", "ground": ground, "width": width}
    (folder / "index.html").write_text(PAGE.format(head=head, body=body, **look), "utf-8")
    return (folder / "index.html").as_uri()
