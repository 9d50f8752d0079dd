"""`python -m bench`, which is how torchrun starts it too."""

from bench.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
