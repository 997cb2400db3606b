"""``python -m rso_jax``: the ``rso`` program."""

import sys

from rso_jax.cli import main

sys.exit(main())
