"""Programs on terminals and systems whose encoding is not UTF-8."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # also what open() takes
SHOWN = "5 ± 1, \N{REPLACEMENT CHARACTER}, \N{GREEK SMALL LETTER ALPHA}"


def run(code, *args, **variables):
    command = [sys.executable, "-c", code, *args]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, env=environment, capture_output=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        (ASCII, rb"5 \xb1 1, \ufffd, \u03b1"),
        ({"PYTHONIOENCODING": "cp1252"}, rb"5 " + b"\xb1" + rb" 1, \ufffd, \u03b1"),
        ({"PYTHONIOENCODING": "ascii:replace"}, b"5 ? 1, ?, ?"),
        ({"PYTHONIOENCODING": "utf-8"}, SHOWN.encode()),
    ],
    ids=["ascii", "cp1252", "chosen", "utf-8"],
)
def test_what_a_terminal_cannot_show_is_written_in_its_letters(variables, shown):
    code = f"from tlstm_jax.scripts import cli; cli.run(lambda: print({SHOWN!a}))"
    ran = run(code, **variables)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.strip() == shown


def test_tables_are_written_in_utf8_on_every_system(tmp_path):
    """A path that was swept over may have any letters."""
    code = f"""if True:
        import pathlib, sys
        from tlstm_jax.runs.files import write_text
        write_text(pathlib.Path(sys.argv[1]), {SHOWN!a})
        print(open(sys.argv[1]).encoding)
    """
    ran = run(code, str(tmp_path / "results.csv"), **ASCII)
    assert ran.stdout.strip().lower() not in (b"utf-8", b""), ran.stderr
    assert (tmp_path / "results.csv").read_text(encoding="utf-8") == SHOWN


def test_a_prompt_is_the_bytes_that_stand_on_the_command_line():
    from tlstm_jax.tasks.char_lm import Vocabulary

    tokens = Vocabulary(tuple(range(256))).encode("é\udcff")
    assert bytes(tokens.tolist()) == "é".encode() + b"\xff"
