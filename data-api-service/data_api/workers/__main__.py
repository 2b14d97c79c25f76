"""`python -m data_api.workers FD`: the nursery, at the other end of that socket."""

import sys

from data_api.workers.nursery import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
