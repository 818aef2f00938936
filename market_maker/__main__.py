"""``python -m market_maker``: the command line without the console script."""
from __future__ import absolute_import

from market_maker import run

if __name__ == '__main__':
    run()
