"""Rules of a user's own for the kinds of a model's layers; importing this loads no torch."""

from __future__ import annotations

from pyprof.errors import UsageError
from pyprof.layers.kinds import compile_rules
from pyprof.models.entries import Rules


def own_kinds(rules: Rules, where: str) -> Rules:
    """The rules as they hold for a step, which has the model at the path `model` in train mode.

    Raises UsageError that begins with `where` for what is no regular expression, or cannot be a kind.
    """
    try:
        compile_rules(rules)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    return tuple((rf"(?:model\.)?(?:{pattern})", kind) for pattern, kind in rules)
