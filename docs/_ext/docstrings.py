"""The library's docstrings as reStructuredText and as Markdown.

They are plain text: names in single backticks, and equations in indented blocks. Neither markup
takes that as it is, since * is a product here, and a block's columns must be kept.
"""

import inspect
import re
import textwrap
from collections.abc import Mapping

_SECTION = re.compile(r"(Args|Attributes|Example|Raises|Returns):$")
_CODE = re.compile(r"(`[^`]+`)")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _prose(line: str, links: Mapping[str, str]) -> str:
    """A line with its code marked as such, linked if it is a public name, and the rest escaped."""

    def marked(part: str) -> str:
        if not _CODE.fullmatch(part):
            part = re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part)
            return re.sub(r"(^|: )(\w)\.(?=\s|$)", r"\1\2\.", part)  # "M." begins no list
        name = part.strip("`")
        return f":py:obj:`~{links[name]}`" if name in links else f"``{name}``"

    start = re.match(r"\s*(\* )?", line)[0]  # of a list
    parts = _CODE.split(line[len(start) :])
    marks = [marked(part) for part in parts]
    for i in range(2, len(parts), 2):
        if parts[i][:1].isalnum():
            marks[i] = "\\ " + marks[i]  # markup must not end within a word
    return start + "".join(marks)


def to_rst(lines: list[str], links: Mapping[str, str]) -> list[str]:
    """The lines of a docstring for Sphinx; `links` has the full name of each name to be linked."""
    rst: list[str] = []
    level = 0  # the indentation of the text around
    verbatim = None  # how: a block of equations ("indented") or of examples
    for number, line in enumerate(lines):
        fresh = not number or not lines[number - 1].strip()
        if not line.strip():
            verbatim = None if verbatim == "example" else verbatim
            rst.append("")
            continue
        if line.lstrip().startswith(">>>"):
            verbatim = "example"
        elif fresh and _indent(line) >= level + 4 and verbatim is None:
            rst += [" " * level + "::", ""]
            verbatim = "indented"
        elif verbatim == "indented" and _indent(line) <= level:
            verbatim = None
        if verbatim is None:
            level = _indent(line)
            if _SECTION.match(line.strip()):
                level += 2
                line = line.replace("Returns:", ":returns:")  # not "type: text", as napoleon has it
            elif re.match(r"\s*\w+(, \w+)+: ", line):  # several names of one description
                names, colon, text = line.partition(":")
                line = names.replace(", ", ",") + colon + text
        rst.append(line if verbatim else _prose(line, links))
    return rst


def to_markdown(docstring: str) -> str:
    """A module's docstring: paragraphs, and blocks of equations."""
    parts = []
    for part in re.split(r"\n\n(?=\S)|\n\n(?=    )", inspect.cleandoc(docstring)):
        if part.startswith("    "):
            parts.append(f"```text\n{textwrap.dedent(part).rstrip()}\n```")
        else:
            text = "".join(
                p if _CODE.fullmatch(p) else re.sub(r"([*_<\\])", r"\\\1", p)
                for p in _CODE.split(part.strip())
            )
            parts.append(text)
    return "\n\n".join(parts)
