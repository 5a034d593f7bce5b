"""Whether to trust what a page shows, in its own colour; nothing where there is no doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyprof.report.page.markup import Markup, tag

if TYPE_CHECKING:
    from pyprof.records.trust import Judgement


def doubt(judged: Judgement | None, of: str = "") -> Markup | None:
    """The judgement where it says more than that the figures can be trusted; `of` what they are of."""
    if judged is None or judged.level == "trust":
        return None
    class_ = "bad" if judged.level == "do not trust" else "care"
    return tag("p", f"{of}: " if of else None, judged.sentence, class_=class_)
