"""What the docstring of a mechanism's file says of it; importing this loads no torch.

A docstring begins with a title and ends with lines of the form "Field: text"; a text goes on in indented lines. The
survey's tables and the registry's entries are made from these lines, so that nothing is said twice.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_DOCSTRING = re.compile(r'\A"""(.*?)"""', re.DOTALL)
_FIELD = re.compile(r"^([A-Z][a-z]+): (.*(?:\n +.*)*)", re.MULTILINE)
# Of the shapes of Long Range Arena, in which the zoo is measured.
HEAD_DIM = 64
FIELDS = ("Family", "Source", "Equation", "Complexity", "Addresses", "Cannot", "Limit")


@dataclass(frozen=True)
class Facts:
    """A mechanism as its file describes it.

    `complexity` is what the source claims in pairs of a query and a key: an expression in the length L, the width d of
    a head and the mechanism's options. `addresses`
    names the parts of a transformer that it replaces, `cannot` what it has no form for (autoregression,
    cross-attention, ...; "nothing" where there is no such thing). `limit` says where it is dense attention or has a
    closed form.
    """

    title: str
    family: str
    source: str
    equation: str
    complexity: str
    addresses: tuple[str, ...]
    cannot: tuple[str, ...]
    limit: str

    def claimed(self, length: int, options: Mapping[str, float]) -> float:
        """The value of `complexity` at a length, in pairs of a query and a key."""
        names = {**options, "L": length, "d": HEAD_DIM, "sqrt": math.sqrt, "min": min}
        return float(eval(self.complexity, {"__builtins__": {}}, names))


@cache
def read(module: str) -> Facts:
    """The facts of a mechanism's module, which is not imported; raises ValueError where its docstring lacks a field."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {module}")
    return parse(Path(spec.origin).read_text(encoding="utf-8"), module)


def parse(text: str, where: str) -> Facts:
    """The facts in the source text of a mechanism; `where` is what a message calls it. Raises ValueError."""
    docstring = _DOCSTRING.match(text)
    fields = {} if docstring is None else dict(_FIELD.findall(docstring[1]))
    for name in FIELDS:
        if name not in fields:
            raise ValueError(f"the docstring of {where} lacks a line {name!r}: it needs {', '.join(FIELDS)}")
    assert docstring is not None
    said = {name.lower(): " ".join(fields[name].split()) for name in FIELDS}
    return Facts(
        title=docstring[1].split("\n\n")[0].replace("\n", " ").rstrip("."),
        family=said["family"],
        source=said["source"],
        equation=said["equation"],
        complexity=said["complexity"],
        addresses=tuple(said["addresses"].split(", ")),
        cannot=tuple(part for part in said["cannot"].split(", ") if part != "nothing"),
        limit=said["limit"],
    )
