"""`python -m excel_cam` and the `excel-cam` command."""

from excel_cam.cli.main import cli


def main() -> None:
    """Run the command line."""
    cli(prog_name="excel-cam")


if __name__ == "__main__":
    main()
