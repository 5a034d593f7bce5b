"""JSON objects as a run holds them: in UTF-8, every name once, no NaN and no infinity."""

from __future__ import annotations

import json
from typing import Any

from pyprof.plain import shown


def parsed(content: bytes) -> dict[str, Any]:
    """The JSON object that a line or a file holds; raises ValueError, in a few words, where it holds none."""
    try:
        data = _DECODER.decode(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("its lists and objects are nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError(f"it holds {shown(data)}")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {shown(next(name for name in names if names.count(name) > 1))} twice")
    return data


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)
