"""`python -m excel_cam` and the `excel-cam` command."""

import os

from excel_cam.cli.main import cli


def main() -> None:
    """Run the command line."""
    # Before torch is loaded. Threads that wait for work by spinning take the processors from those that have some:
    # beside other busy processes a run took up to four times as long. Labels are the same bytes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cli(prog_name="excel-cam")


if __name__ == "__main__":
    main()
