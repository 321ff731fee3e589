"""`python -m lerobot_policy_ikp`: policies from ikp to LeRobot and back."""

from __future__ import annotations

import argparse
import sys

from lerobot_policy_ikp.exchange import export_policy, import_policy


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m lerobot_policy_ikp", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, source, text in (
        ("export", "run", "a LeRobot checkpoint from a run of ikp"),
        ("import", "checkpoint", "a policy of ikp from a LeRobot checkpoint"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("source", metavar=source.upper(), help="folder to read")
        command.add_argument("out", metavar="OUT", help="folder to write")
    chosen = parser.parse_args(arguments)
    action = export_policy if chosen.command == "export" else import_policy
    try:
        print(f"written: {action(chosen.source, chosen.out)}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
