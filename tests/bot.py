"""A bot as its user runs it: a process in a folder of its own, whose output is kept."""
import os
import re
import signal
import socket
import subprocess
import sys
import time

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STOP_SIGNALS = [one for one in (signal.SIGINT, signal.SIGTERM, getattr(signal, 'SIGHUP', None)) if one]
LINE = re.compile(r'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - ([A-Z]+) - (\w+) - (.*)')


def free_port():
    """Return a port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def until(condition, seconds, what, every=0.02):
    """Poll the condition until it is true and return its value; fail with ``what`` when the time is up.

    What asks the exchange with the bot's own key does so ``every`` fifth of a second: the bot needs its requests.
    """
    deadline = time.time() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.time() < deadline, what() if callable(what) else what
        time.sleep(every)


class Bot:
    """Runs ``python -m market_maker`` in a folder, with stdout and stderr in one file, in the order of writing."""

    def __init__(self, folder, url=None, settings=None):
        self.folder = str(folder)
        self.url = url or 'http://127.0.0.1:{}/api/v1/'.format(free_port())
        self.env = dict(os.environ, PYTHONPATH=CHECKOUT, BITMEX_BASE_URL=self.url, PYTHONUNBUFFERED='1')
        self.output = os.path.join(self.folder, 'output.txt')
        self.process = None
        if settings is not None:
            path = os.path.join(self.folder, 'settings.py')
            with open(path, 'w') as target:
                target.writelines('{} = {!r}\n'.format(name, value) for name, value in sorted(settings.items()))
            os.chmod(path, 0o600)

    def command(self, *words):
        """Return the command line of ``marketmaker WORDS``."""
        return [sys.executable, '-m', 'market_maker'] + list(words)

    def run(self, *words, **options):
        """Run to the end; return the CompletedProcess with everything printed in ``stdout``."""
        return subprocess.run(self.command(*words), cwd=self.folder, env=self.env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, timeout=options.get('timeout', 30))

    def start(self, *words):
        """Start in the background."""
        with open(self.output, 'w') as sink:
            self.process = subprocess.Popen(self.command(*words), cwd=self.folder, env=self.env, stdout=sink,
                                            stderr=subprocess.STDOUT, start_new_session=True)
        return self.process

    def text(self):
        """Return everything printed so far."""
        with open(self.output) as source:
            return source.read()

    def lines(self):
        """Return what was logged so far, one 'LEVEL - module - message' a line, and `-----` lines as they are."""
        found = []
        for line in self.text().splitlines():
            match = LINE.match(line)
            found.append(' - '.join(match.groups()[1:]) if match else line)
        return found

    def stop(self, ending=signal.SIGINT, timeout=15):
        """Send the signal and return the exit code."""
        self.process.send_signal(ending)
        return self.process.wait(timeout)

    def kill(self):
        """End it whatever it does; for the end of a test."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
