"""``python -m nunbit`` is the same as ``nunbit``."""

from nunbit.cli import main

main()
