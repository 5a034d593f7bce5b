"""Text of unknown origin (names, paths, messages, what a record holds) made fit for a terminal."""

from __future__ import annotations

import re

_LONGEST = 80
# Control characters of both kinds, marks that reorder or end a line, and halves of surrogate pairs, which no encoding
# of a terminal can hold.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""The text with what a terminal would act on written out, as in ``\x1b``, but for the characters in `keep`."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def without_controls(text: str, keep: str = "\n") -> str:
    """The text as wide as a terminal shows it: characters that it would act on, which have no width, are taken out."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else "", text)


def json_safe(document: str) -> str:
    r"""A JSON document with the control characters that JSON lets stand in a string written as ``\u009b``."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in "\n\r\t" else f"\\u{ord(match[0]):04x}", document)


def has_controls(text: str) -> bool:
    """Whether the text holds a character that a terminal would act on."""
    return _CONTROL.search(text) is not None


def shown(value: object) -> str:
    """A value in a message: a text or a number as it is written, shortened; of what holds others only what it is."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    written = repr(value)
    return written if len(written) <= _LONGEST else f"{written[: _LONGEST - 3]}..."


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
