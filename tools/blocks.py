"""Named blocks of Markdown files that are made from data: `<!-- table:NAME -->` to `<!-- /table:NAME -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

BLOCK = re.compile(r"(<!-- table:(?P<name>[\w-]+) -->\n).*?(<!-- /table:(?P=name) -->)", re.DOTALL)
MARK = re.compile(r"<!-- /?table:([\w-]*)")


def fill(text: str, tables: Mapping[str, Callable[[], str]], page: str) -> str:
    """Replace the contents of all blocks.

    Args:
        text: of a Markdown file.
        tables: functions that make the content of a block, by its name; only those of blocks in the text are called.
        page: name of the file, for messages.

    Raises:
        ValueError: an unknown block, or one whose begin and end do not match.
    """
    marks = MARK.findall(text)
    for name in marks:
        if name not in tables:
            raise ValueError(
                f"{page} has the block 'table:{name}': choose one of {', '.join(sorted(tables))}"
            )
    if len(marks) != 2 * len(BLOCK.findall(text)):
        raise ValueError(
            f"{page}: every table needs its own lines '<!-- table:NAME -->' and '<!-- /table:NAME -->', in this order"
        )
    return BLOCK.sub(lambda found: f"{found[1]}\n{tables[found['name']]()}\n\n{found[3]}", text)
