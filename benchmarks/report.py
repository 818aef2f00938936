"""Put the tables of the last `make bench` into docs/performance.md, each between its two marks.

    python benchmarks/report.py
"""
import json
import os
import re
import sys

import common

PAGE = os.path.join(common.ROOT, 'docs', 'performance.md')
RESULTS = os.path.join(common.HERE, 'results')
MARKED = re.compile(r'(<!-- begin ([a-z]+) -->\n).*?(<!-- end \2 -->)', re.DOTALL)


def filled(page, tables):
    """Return the page with the tables in their places; a place without a table stays as it is."""
    def block(match):
        lines = tables.get(match.group(2))
        return match.group(0) if lines is None else match.group(1) + '\n'.join([''] + lines + ['', match.group(3)])
    return MARKED.sub(block, page)


def main():
    """Read the results, write the page."""
    tables = {}
    for name in os.listdir(RESULTS):
        with open(os.path.join(RESULTS, name)) as file:
            tables[name.rpartition('.')[0]] = json.load(file)['table']
    with open(PAGE) as file:
        page = file.read()
    with open(PAGE, 'w') as file:
        file.write(filled(page, tables))
    return 0


if __name__ == '__main__':
    sys.exit(main())
