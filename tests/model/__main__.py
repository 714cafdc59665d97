"""`make model`: search the large worlds too."""

import sys

from tests.model.run import table

for line in table():
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
