"""Writes the README's table of models, between its markers, and their number, from the zoo's catalogue.

python -m scripts.readme
"""

import pathlib
import re
import textwrap

from tlstm_jax import zoo
from tlstm_jax.runs.files import write_text
from tlstm_jax.scripts import cli
from tlstm_jax.zoo.kinds import KINDS

README = pathlib.Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- models: written by python -m scripts.readme -->\n", "<!-- end of models -->\n"
_NUMBER = re.compile(r"\d+( models behind one interface)")
_CITATION = re.compile(r'(.+), "(.+)", (.+)')  # authors, title, where and when


def main() -> None:
    with cli.one_line_errors():
        write_text(README, with_table(README.read_text(encoding="utf-8")))
        print(README)


def with_table(text: str) -> str:
    """The README with the table of today's catalogue, and the number of its models.

    Raises:
      ValueError: it lacks the two markers, once each, or does not say once how many models there are.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(
            f"{README} lacks its markers; accepted is one {BEGIN.strip()} and one {END.strip()}"
        )
    text, found = _NUMBER.subn(rf"{len(zoo.MODELS)}\1", text)
    if found != 1:
        raise ValueError(
            f"{README} has {found} times '.. models behind one interface'; accepted is once"
        )
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{_table()}\n{END}{rest.partition(END)[2]}"


def _table() -> str:
    head = ("| `--model` | | paper | kind | checked against |", "|---|---|---|---|---|")
    rows = (
        f"| `{name}` | {entry.title} | {_paper(entry.citation)} | {entry.kind} | {entry.checked} |"
        for name, entry in zoo.MODELS.items()
    )
    kinds = "; ".join(f"*{kind}*, {meaning}" for kind, meaning in KINDS.items())
    return "\n".join([*head, *rows, "", textwrap.fill(f"Kinds: {kinds}.", 120), ""])


def _paper(citation: str) -> str:
    authors, title, where = _CITATION.fullmatch(citation).groups()
    return f"{authors}, *{title}*, {where}"


if __name__ == "__main__":
    cli.run(main)
