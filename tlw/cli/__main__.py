"""For `python -m tlw.cli`, which is the command `tlw`."""

from tlw.cli import main

if __name__ == "__main__":
    main()
