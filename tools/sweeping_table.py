"""The table of bimanual sweeping, with exact and with wrong joint encoders."""

from __future__ import annotations

from pathlib import Path

from ikp_paper.rows import NOT_RUN, markdown, published, settled_note, title
from ikp_paper.statistics import cell_records
from ikp_paper.tables import SWEEPING, SWEEPING_MISCALIBRATED, TABLES
from ikp_paper.variants import VARIANTS
from insertion_tables import PAPER, RECIPE, budget


def sweeping_table(results: Path) -> str:
    """The finished cells of both settings, each with the paper's result."""
    calibrated = TABLES["sweeping"].cells
    papers = [TABLES["table1"].cell(SWEEPING, VARIANTS[cell.variant].method) for cell in calibrated]
    exact = [(cell, "exact", paper) for cell, paper in zip(calibrated, papers, strict=True)]
    wrong = [(cell, "off", cell) for cell in TABLES["table2"].cells if cell.setting == SWEEPING_MISCALIBRATED]
    rows, shown = [], []
    for cell, encoders, paper in (*exact, *wrong):
        found = cell_records(cell, results, RECIPE)
        records = list(found.records.values())
        if not records:
            continue
        moved = " / ".join(f"{100 * record['score']['mean']:.1f} %" for record in records)
        if len(records) == 1:
            low, high = (100 * bound for bound in records[0]["score"]["interval_95"])
            moved += f" ({low:.0f} to {high:.0f} %)"
        rows.append(
            [
                title(cell.variant),
                encoders,
                str(cell.setting.demonstrations),
                budget(found.mean_training("seconds"), found.mean_training("steps")),
                moved,
                str(len(records[0]["episodes"]["score"])),
                published(paper),
            ]
        )
        shown.append(found)
    head = [
        "method",
        "encoders",
        "demonstrations",
        "training",
        "particles in the bowls",
        "unseen episodes",
        PAPER,
    ]
    return "\n\n".join(filter(None, [markdown([head, *rows]), settled_note(shown)])) if rows else NOT_RUN
