"""Docstrings begin with a verb or a noun, not with an indirect question: "Return the …", "Seconds that …", never "What …"."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUESTION = re.compile(r"(What|Whether|How|Who)")
MAX_SHARE = {"headrace": 0.02, "providers": 0.02, "worker": 0.02, "api": 0.02, "rehearsal": 0.02}


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring, those of attributes too: a text directly after an assignment."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        attributes = () if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else pairwise(node.body)
        documented = [second for first, second in attributes if isinstance(first, ast.Assign | ast.AnnAssign)]
        for statement in [*node.body[:1], *documented]:
            match statement:
                case ast.Expr(ast.Constant(str(text))):
                    yield statement.lineno, text.strip()


SOURCE = '''
"""module"""
x = 1
"""attribute"""
class C:
    """class"""
    y: int
    """attribute of a class"""
    def f(self):
        "function"
        z = 1
        "no docstring"
'''


def test_every_kind_of_docstring_is_counted():
    texts = sorted(text for _, text in docstrings(ast.parse(SOURCE)))
    assert texts == ["attribute", "attribute of a class", "class", "function", "module"]


@pytest.mark.parametrize("package", MAX_SHARE)
def test_few_docstrings_begin_with_a_question(package: str):
    texts = {
        f"{file.relative_to(ROOT)}:{line}": text
        for file in sorted((ROOT / package).rglob("*.py"))
        for line, text in docstrings(ast.parse(file.read_bytes()))
    }
    questions = [f"{place}: {text[:60]}" for place, text in texts.items() if QUESTION.match(text)]
    assert texts
    assert len(questions) <= MAX_SHARE[package] * len(texts), "\n".join(questions)
