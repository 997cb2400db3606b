"""Tables and figures of the documentation, from the files under ``experiments/results``.

    python experiments/report           # write them
    python experiments/report --check   # exit status 1 if one is out of date

Nothing is typed by hand between ``<!-- results -->`` marks, and figures elsewhere are compared with
the files, which are right.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # of a folder that is run, Python names the folder

from report.documents import main  # noqa: E402

sys.exit(main(check="--check" in sys.argv[1:]))
