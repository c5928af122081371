"""The entry point of `messaging ...` and `python -m messaging ...`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C."""
    try:
        from messaging.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("typer", "rich"):
            raise
        sys.stderr.write(
            f"error: the command line needs the package {error.name}, which is not installed; "
            'run: pip install "messaging-sns-sqs[cli]"\n'
        )
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
