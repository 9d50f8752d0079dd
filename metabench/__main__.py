"""`python -m metabench`, which is how torchrun starts it too."""

from metabench.bench.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
