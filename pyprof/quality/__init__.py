"""What quality a cost buys: tasks that a model is trained and judged on; importing this loads no torch."""

from __future__ import annotations

from importlib.util import find_spec

from pyprof.errors import UsageError

# What training needs beside torch and transformers; `pip install pyprof-transformers[quality]` brings them.
_EXTRA = ("accelerate",)


def require_extra(*packages: str) -> None:
    """Raise UsageError where a package of the extra `quality` is missing; accelerate is asked for by default."""
    missing = [name for name in packages or _EXTRA if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"{' and '.join(missing)} {verb} not installed, which training and judging a model needs: "
            "pip install 'pyprof-transformers[quality]'"
        )
