"""HTML of a page that opens offline: pictures and video are inside the file, and nothing is fetched."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path


def html_page(title: str, sections: Sequence[str]) -> str:
    """A whole page in the reports' style."""
    return _FRAME.format(title=escape(title), style=_STYLE, body="\n".join(sections))


def picture(path: Path, caption: str) -> str:
    """A figure with the PNG inside; the caption may contain tags."""
    source = embedded(path, "image/png")
    words = escape(re.sub(r"<[^>]*>", "", caption))
    return f'<figure><img alt="{words}" src="{source}"><figcaption>{caption}</figcaption></figure>'


def embedded(path: Path, kind: str) -> str:
    """A file as a data URL of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text cells."""
    header = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


_STYLE = """
:root { --ink: #22262b; --soft: #5d646d; --line: #e2e5e9; --accent: #1668a8; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 2.5rem 1.5rem 5rem; color: var(--ink); background: #fff;
       font: 17px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.4rem; margin: 3.2rem 0 .6rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .7rem 0; }
.lead { font-size: 1.15rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.6rem 0; }
.tile { flex: 1 1 12rem; border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.2rem;
        display: flex; flex-direction: column; }
.tile b { font-size: 2.2rem; line-height: 1.15; color: var(--accent); }
.tile small, figcaption { color: var(--soft); font-size: .9rem; }
figure { margin: 1.6rem 0; }
figure img, figure video { display: block; width: 100%; height: auto; border-radius: 8px; }
figure video { max-width: 820px; }
figcaption { max-width: 52rem; margin-top: .5rem; }
table { border-collapse: collapse; margin: 1.2rem 0; font-size: .95rem; }
th, td { text-align: left; padding: .35rem 1.4rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
code { background: #f2f4f6; border-radius: 4px; padding: .1em .35em; font-size: .9em; }
"""

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
