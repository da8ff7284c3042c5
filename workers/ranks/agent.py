"""`python -m workers.ranks.agent ...`: torchrun, which dies with the job process that started it."""

from __future__ import annotations

import sys

from torch.distributed.run import main

from workers.parent import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    main(sys.argv[1:])
