"""Which test stands for which statement and which defect of the providers' specification."""

from __future__ import annotations

import ast
import re
from pathlib import Path

STATEMENTS = range(1, 147)
DEFECTS = range(1, 101)
NUMBER = re.compile(r"\b([cd])(\d{3})(?=[_-]|\b)")

COVERED_BY: dict[int, tuple[int, ...]] = {
    1: (6,), 2: (9,), 3: (5,), 4: (87,), 5: (33, 127), 6: (31,), 7: (30,), 8: (38, 40), 9: (42,), 10: (43,),
    11: (44,), 13: (11,), 14: (14, 15), 15: (20,), 17: (32,), 21: (73,), 22: (71, 104), 25: (55,), 26: (57,),
    27: (58,), 28: (65,), 29: (56,), 30: (66,), 31: (63,), 32: (61,), 33: (67,), 35: (68,), 38: (77,), 42: (84,),
    43: (83,), 45: (85,), 46: (86,), 50: (112,), 51: (113,), 52: (115,), 54: (91, 92), 55: (93,), 59: (90,),
    60: (95,), 62: (105,), 66: (98,), 67: (110, 111), 69: (108, 109), 71: (124,), 72: (124,), 73: (120,),
    74: (125,), 75: (121, 122), 76: (116,), 77: (123,), 79: (126,), 80: (119,), 81: (108,), 83: (129,),
    84: (130, 131), 85: (133, 134), 86: (132,), 91: (137,), 92: (139, 140), 93: (26, 27), 94: (28,), 95: (146,),
    98: (145,),
}  # fmt: skip
"""Defects that statements cover; the others have tests of their own, named by their numbers."""


def tests(folder: Path) -> list[tuple[str, str, str]]:
    """(file, test, its forms) of every test in `folder` that names a statement or a defect."""
    found = []
    for path in sorted(folder.glob("test_*.py")):
        text = path.read_text()
        tree = ast.parse(text)
        forms = "sync, async, stream" if re.search(r"import .*\bFORMS\b", text) else ""
        forms = forms or ("sync, async" if 'FORMS = ("sync", "async")' in text else "")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and re.match(r"test_[cd]\d{3}", node.name):
                takes_form = any(argument.arg == "form" for argument in node.args.args)
                found.append((path.name, node.name, forms if takes_form else "without I/O"))
    return found


def numbers(test: str) -> set[tuple[str, int]]:
    """The statements (`c`) and defects (`d`) that a test's name begins with."""
    return {(kind, int(number)) for kind, number in re.findall(r"_([cd])(\d{3})(?=_)", f"{test}_")}


def table(folder: Path) -> str:
    """The table of docs/conformance.md."""
    known = tests(folder)
    rows = ["| statement | tests | forms |", "|---|---|---|"]
    rows += [row(f"{number}", [one for one in known if ("c", number) in numbers(one[1])]) for number in STATEMENTS]
    rows += ["", "| defect | covered by | forms |", "|---|---|---|"]
    for number in DEFECTS:
        own = [one for one in known if ("d", number) in numbers(one[1])]
        statements = ", ".join(f"statement {each}" for each in COVERED_BY.get(number, ()))
        rows.append(row(f"D{number:02}", own, statements))
    return "\n".join(rows)


def row(name: str, covered: list[tuple[str, str, str]], more: str = "") -> str:
    cells = [f"`{file}`: {words(test)}" for file, test, _ in covered]
    forms = sorted({forms for _, _, forms in covered}, key=lambda each: (-len(each), each))
    return f"| {name} | {'; '.join(filter(None, [more, *cells]))} | {'; '.join(forms)} |"


def words(test: str) -> str:
    return re.sub(r"^test(_[cd]\d{3})+_", "", test).replace("_", " ")
