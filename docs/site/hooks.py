"""Makes a site of the pages as they are read on GitHub: pages of the root join those of docs/, and links follow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
# Pages of the repository's root, by their names on the site.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
_LINK = re.compile(r"\]\((?!https?:|#)([^()\s#]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let the links of a page lead to where their targets are on the site."""
    is_of_root = page.file.src_uri in PAGES.values()

    def moved(match: re.Match[str]) -> str:
        target = match[1] if is_of_root else match[1].removeprefix("../")
        if not is_of_root and target == match[1]:
            return match[0]
        return f"]({PAGES.get(target, target.removeprefix('docs/'))}"

    return _LINK.sub(moved, markdown)
