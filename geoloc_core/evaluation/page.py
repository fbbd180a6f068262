"""One HTML file that opens from disk: no script, no font, no picture that is not inside it.

Everything that is shown is escaped; pictures are data addresses. The same content gives the same bytes: no date is
written.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from geoloc_core.evaluation.comparison import BEST, BETTER, TIE, WORSE
from geoloc_core.evaluation.tables import displayed

# A reader is told apart what is a model and what is the bar: rows of these kinds are tinted.
FIGURE = re.compile(rf"([-+\d.,]+)(?: (\[[-+\d., ]+\]))?(?: ({BEST}|{TIE}|{BETTER}|{WORSE}))?")
KIND_WORDS = {"baseline": "baseline", "ceiling": "ceiling", "published": "published"}


@dataclass(frozen=True)
class Text:
    """Paragraphs of prose."""

    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """Words and what they mean."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A frame as `tables.displayed` shows it; a column `kind` tints rows and is not shown."""

    caption: str
    frame: pd.DataFrame
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG or JPEG with what it shows in words; without content the words stand alone."""

    caption: str
    content: bytes
    alternative: str
    media_type: str = "image/png"


@dataclass(frozen=True)
class Gallery:
    """Small pictures side by side."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Text | Terms | Table | Picture | Gallery, ...]


def render(title: str, notice: str, sections: Sequence[Section]) -> str:
    """The page. `notice` is what a reader must know before any figure; "" leaves the box out."""
    names = [f"s{number}" for number in range(1, len(sections) + 1)]
    links = "".join(
        f'<li><a href="#{name}">{_text(section.title)}</a></li>' for name, section in zip(names, sections, strict=True)
    )
    body = "\n".join(
        f'<section id="{name}">\n<h2>{_text(section.title)}</h2>\n'
        + "\n".join(_block(block) for block in section.blocks)
        + "\n</section>"
        for name, section in zip(names, sections, strict=True)
    )
    box = f'<aside class="notice" role="note"><strong>Please note.</strong> {_text(notice)}</aside>\n' if notice else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{_text(title)}</h1>\n"
        f'{box}<nav aria-label="Contents"><ol>{links}</ol></nav>\n{body}\n</main>\n</body>\n</html>\n'
    )


def _block(block: Text | Terms | Table | Picture | Gallery) -> str:
    if isinstance(block, Text):
        return "\n".join(f"<p>{_text(paragraph)}</p>" for paragraph in block.paragraphs)
    if isinstance(block, Terms):
        entries = "".join(f"<dt>{_text(word)}</dt><dd>{_text(meaning)}</dd>" for word, meaning in block.entries)
        return f"<dl>{entries}</dl>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Gallery):
        return '<div class="gallery">' + "\n".join(_picture(picture) for picture in block.pictures) + "</div>"
    return _picture(block)


def _table(table: Table) -> str:
    frame = table.frame
    kinds = frame["kind"].tolist() if "kind" in frame else [""] * len(frame)
    visible = frame.drop(columns="kind") if "kind" in frame else frame
    shown = displayed(visible)
    numeric = [all(text == "" or FIGURE.fullmatch(text) for text in shown[heading]) for heading in shown.columns]
    head = "".join(
        f'<th scope="col"{_right(right)}>{_text(heading)}</th>'
        for heading, right in zip(shown.columns, numeric, strict=True)
    )
    rows = []
    for kind, row in zip(kinds, shown.itertuples(index=False), strict=True):
        cells = "".join(f"<td{_right(right)}>{_cell(text)}</td>" for text, right in zip(row, numeric, strict=True))
        rows.append(f'<tr class="{_text(kind)}">{cells}</tr>' if kind in KIND_WORDS else f"<tr>{cells}</tr>")
    if not rows:
        rows = [f'<tr><td colspan="{len(shown.columns)}">none</td></tr>']
    note = f'<p class="small">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<div class="table"><table>\n<caption>{_text(table.caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>" + "\n".join(rows) + f"</tbody>\n</table></div>\n{note}"
    )


def _cell(text: str) -> str:
    """A figure with its interval and its verdict in smaller type, in bold where it is best; other text as it is."""
    parts = FIGURE.fullmatch(text)
    if parts is None:
        return _text(text)
    figure, span, verdict = (part or "" for part in parts.groups())
    strong = f"<strong>{_text(figure)}</strong>" if verdict == BEST else _text(figure)
    interval = f' <span class="interval">{_text(span)}</span>' if span else ""
    word = f' <span class="verdict">{_text(verdict)}</span>' if verdict and verdict != BEST else ""
    return f"{strong}{interval}{word}"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.content).decode("ascii")
    image = f'<img src="data:{picture.media_type};base64,{data}" alt="{_text(picture.alternative)}">'
    return f"<figure>{image if data else ''}<figcaption>{_text(picture.caption)}</figcaption></figure>"


def _right(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _text(value: str) -> str:
    return html.escape(value, quote=True)


_STYLE = """
:root { color-scheme: light; --ink: #1c2833; --soft: #566573; --line: #d5d8dc; --tint: #f4f6f7; --accent: #1f5f8b; }
* { box-sizing: border-box; }
body { margin: 0; background: #ffffff; color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; }
main { max-width: 80rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.35rem; margin: 2.6rem 0 .8rem; padding-top: .6rem; border-top: 2px solid var(--line); }
p { max-width: 48rem; margin: .6rem 0; }
a { color: var(--accent); }
nav ol { columns: 2; max-width: 48rem; padding-left: 1.4rem; }
.notice { background: #fef5e0; border-left: 5px solid #d68910; padding: .8rem 1rem; margin: 1rem 0 1.4rem;
  max-width: 60rem; }
.table { overflow-x: auto; margin: 1rem 0 .3rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; font-weight: 600; padding: .2rem 0 .5rem;
  /* On a telephone a wide table is moved sideways; its caption stays and wraps. */
  position: sticky; left: 0; max-width: calc(100vw - 3rem); }
th, td { padding: .35rem .7rem .35rem 0; text-align: left; vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; white-space: normal; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); }
th.number, td.number { text-align: right; padding-left: .6rem; }
.number + td:not(.number), .number + th:not(.number) { padding-left: .9rem; }
tr.baseline td, tr.ceiling td, tr.published td { background: var(--tint); font-style: italic; }
.interval { color: var(--soft); font-size: .82em; }
.verdict { font-size: .8em; color: var(--accent); }
.small { font-size: .85rem; color: var(--soft); }
dl { max-width: 60rem; display: grid; grid-template-columns: minmax(9rem, 14rem) 1fr; gap: .3rem 1.2rem; }
dt { font-weight: 600; } dd { margin: 0; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; border: 1px solid var(--line); }
figcaption { font-size: .88rem; color: var(--soft); max-width: 60rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
.gallery figure { margin: 0; }
@media (max-width: 40rem) { nav ol { columns: 1; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
@media print { nav { display: none; } .table { overflow: visible; } }
"""
