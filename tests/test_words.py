"""Words that only the authors understand stay out of the code and the documentation (``words.toml``)."""

import ast
import builtins
import io
import re
import tokenize
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORDS = tomllib.loads((ROOT / "tests" / "words.toml").read_text("utf-8"))
SUFFIXES = {".py", ".md", ".js", ".html", ".css", ".toml"}


def files() -> list[str]:
    """Return the source and documentation files to check, relative to the root of the repository."""
    roots = [ROOT / folder for folder in ("service", "models", "docs", "clients", "benchmarks")]
    found = [path for root in roots for path in root.rglob("*") if path.suffix in SUFFIXES]
    names = sorted(str(path.relative_to(ROOT)) for path in found)
    documents = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
    return [*documents, *(name for name in names if "/static/vendor/" not in name and "/dist/" not in name)]


@cache
def split(text: str) -> str:
    """Return ``text`` in lower case, with identifiers split into their words."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", text)
    return re.sub(r"\s+", " ", text).lower()


def text_faults(text: str) -> list[str]:
    """Return a message for each line that has a word of the ``text`` list."""
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, WORDS["text"])) + r")\b")
    return [
        f"line {number}: {word!r}, write {WORDS['text'][word]}"
        for number, line in enumerate(text.splitlines(), 1)
        for word in pattern.findall(split(line))
    ]


def identifier_faults(source: str) -> list[str]:
    """Return a message for each name in the code that has a word of the ``identifiers`` list."""
    faults = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and not hasattr(builtins, token.string):
            faults += [
                f"line {token.start[0]}: {token.string!r}, write {WORDS['identifiers'][word]}"
                for word in split(token.string).split()
                if word in WORDS["identifiers"]
            ]
    return faults


def opening_faults(source: str) -> list[str]:
    """Return a message for each docstring that begins with a word of the ``openings`` list."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = (ast.get_docstring(node) or "").split()
            if words and words[0].lower().strip(",.:") in WORDS["openings"]:
                better = WORDS["openings"][words[0].lower().strip(",.:")]
                faults.append(f"line {getattr(node, 'lineno', 1)}: begins with {words[0]!r}, write {better}")
    return faults


def faults(name: str) -> list[str]:
    """Return everything that the word list finds in a file."""
    text = (ROOT / name).read_text("utf-8")
    found = text_faults(text)
    if name.endswith(".py"):
        found += identifier_faults(text) + opening_faults(text)
    return found


@pytest.mark.parametrize("name", files())
def test_words_are_those_of_the_field(name: str) -> None:
    assert not faults(name), "\n".join(faults(name))


def test_the_list_finds_names_text_and_openings() -> None:
    source = 'class DoorKeeper:\n    """What it does anew."""\n\n    def look_up(self):\n        """Return."""\n'
    assert len(text_faults(source)) == 3
    assert len(identifier_faults(source)) == 1
    assert len(opening_faults(source)) == 1
