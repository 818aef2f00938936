"""What the benchmarks share: their options, children that answer lines with lines, and the ratios that were recorded.

A quick run (``--quick``) fails when a ratio has fallen below half of the one in ``recorded.json``, or when a count is
another one; ``--record`` writes the figures of this run there.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
RECORDED = os.path.join(HERE, 'recorded.json')
ENOUGH = 0.5    # of a recorded ratio


def parser(text, rounds, baseline=True):
    """Return an argument parser with the options that all benchmarks have."""
    made = argparse.ArgumentParser(description=text.partition('\n')[0])
    made.add_argument('--rounds', type=int, default=rounds)
    if baseline:
        made.add_argument('--baseline-python', metavar='PATH', type=os.path.abspath,
                          help='Python of an environment with the classic bot')
    made.add_argument('--quick', action='store_true',
                      help='few short rounds, and an error when a ratio is below half of the recorded one')
    made.add_argument('--record', action='store_true', help='write this run into recorded.json')
    made.add_argument('--json', metavar='FILE', help='write all numbers there')
    return made


class Child(object):
    """A process that answers each line with a line.  ``python`` runs ``program``, a text; or a list is the command."""

    def __init__(self, python, program, *args, **options):
        self.name = options.pop('name', '')
        self.child = subprocess.Popen([python, '-c', program] + [str(arg) for arg in args], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, universal_newlines=True, **options)

    def read(self):
        """Return the next line."""
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit('{} ended with status {}'.format(self.name or 'a contender', self.child.wait(10)))
        return line.strip()

    def wait_until_ready(self):
        """Skip what comes before the line 'ready': the classic bot prints lines of its own at import."""
        while self.read() != 'ready':
            continue

    def tell(self, text):
        """Write a line."""
        self.child.stdin.write(text + '\n')
        self.child.stdin.flush()

    def ask(self, text):
        """Write a line and return the next one."""
        self.tell(text)
        return self.read()

    def end(self):
        """Close its input and wait for its end; a child that does not end is killed."""
        self.child.stdin.close()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait(10)
        self.child.stdout.close()


def environment(path=ROOT, **more):
    """Return the environment of a contender; ``path`` is where it finds our package, '' for the installed one.

    Byte code is written down, as it is at an installation, and not compiled anew by every process.
    """
    return dict(os.environ, PYTHONPATH=path, PYTHONUNBUFFERED='1', PYTHONDONTWRITEBYTECODE='', **more)


def turns(contenders, number):
    """Return the contenders in the order of round ``number``: whoever comes first may find a colder machine."""
    return contenders if number % 2 else contenders[::-1]


def summary(values, form='{:.2f}'):
    """Return 'median, minimum' as text."""
    return '{}, {}'.format(form, form).format(statistics.median(values), min(values))


def paired(numerators, denominators):
    """Return the median of the ratios of each round: what slows the machine down for a while slows down both."""
    return statistics.median(one / other for one, other in zip(numerators, denominators))


def finish(options, name, lines, numbers, ratios, counts=None):
    """Print the table, write the JSON file, and hold a quick run against what was recorded.

    ``ratios`` are figures of which more is better, ``counts`` such that must not change; names -> numbers.
    """
    print('\n'.join(lines))
    if options.json:
        with open(options.json, 'w') as output:
            json.dump({'table': lines, 'figures': numbers, 'ratios': ratios, 'counts': counts or {}}, output, indent=1,
                      sort_keys=True)
    recorded = {}
    if os.path.exists(RECORDED):
        with open(RECORDED) as file:
            recorded = json.load(file)
    if options.record:
        recorded[name] = {'ratios': {key: float('{:.3g}'.format(value)) for key, value in ratios.items()},
                          'counts': counts or {}}
        with open(RECORDED, 'w') as file:
            json.dump(recorded, file, indent=1, sort_keys=True)
            file.write('\n')
    if options.quick:
        faults = compare(recorded.get(name, {}), ratios, counts or {})
        if faults:
            print('\n'.join(faults), file=sys.stderr)
            return 1
    return 0


def compare(recorded, ratios, counts):
    """Return what is wrong with the figures of a run, in words: ratios below ENOUGH of the recorded, other counts.

    What was recorded and not measured (without a baseline) is no fault, for CI runs with one.
    """
    faults = ['{} is {:.2f}; {:.2f} was recorded'.format(key, ratios[key], value)
              for key, value in sorted(recorded.get('ratios', {}).items())
              if key in ratios and not ratios[key] >= ENOUGH * value]
    return faults + ['{} is {}; {} was recorded'.format(key, counts[key], value)
                     for key, value in sorted(recorded.get('counts', {}).items())
                     if key in counts and counts[key] != value]
