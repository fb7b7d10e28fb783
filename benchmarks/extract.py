"""From the files of a package to the text a person would read in them.

Each reader takes the content of one file and returns its text. None of them asks Python's Unicode
tables, whose version differs between interpreters: the same file gives the same text everywhere.
"""

from __future__ import annotations

import re

# Han, kana, hangul: enough to tell a line of running Chinese, Japanese or Korean.
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uff66-\uff9d]")
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_LETTER_OR_SPACE = re.compile(r"[A-Za-z \n,.;:'\u2019-]")

_MSGSTR = re.compile(r'^msgstr(?:\[\d+\])? ((?:"(?:[^"\\\n]|\\.)*"[ \t]*\n?)+)', re.MULTILINE)
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}

_FENCED = re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_FOOTER = re.compile(r"github\.com/Comfy-Org|SHA-256")


def plain(text: str) -> str:
    """The file as it is."""
    return text


def english_paragraphs(text: str) -> str:
    """Paragraphs of sentences from a documentation source, without its listings and tables."""
    kept = []
    for paragraph in re.split(r"\n[ \t]*\n", text):
        starts_a_listing = paragraph[:1] in (" ", "\t", "`", "|", "<", ".")
        sentences = len(_LETTER_OR_SPACE.findall(paragraph))
        if len(paragraph) >= 80 and not starts_a_listing and sentences >= 0.9 * len(paragraph):
            kept.append(paragraph.strip("\n") + "\n")
    return "\n".join(kept)


def translations(text: str) -> str:
    """The translated side of a gettext catalogue; its first entry is the catalogue's own header."""
    found = []
    for entry in list(_MSGSTR.finditer(text))[1:]:
        quoted = "".join(_QUOTED.findall(entry[1]))
        found.append(_ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), quoted))
    return "".join(line + "\n" for line in found if line)


def markdown_text(text: str) -> str:
    """The sentences of a Markdown page: no code blocks; of a table row, its longest cell."""
    lines = []
    for line in _FENCED.sub("", text).split("\n"):
        if line.startswith("|"):
            line = max(line.split("|"), key=len)
        lines.append(line.strip(" \t\r"))
    return "".join(line + "\n" for line in lines if line)


def first_long_string(text: str) -> str:
    """The first triple-quoted string of a Python file that only holds one."""
    return text.split('"""')[1].strip("\n") + "\n"


def is_mostly_cjk(line: str) -> bool:
    """At least half of what is not white space is Chinese, Japanese or Korean."""
    return 2 * len(_CJK.findall(line)) >= max(1, len(_NOT_SPACE.findall(line)))


def is_no_footer(line: str) -> bool:
    """Not one of the lines that differ on every generated page by a link or a check sum alone."""
    return not _FOOTER.search(line)


def any_line(line: str) -> bool:
    return True
