"""Build script; everything else that tools need to know stands in pyproject.toml."""
import os
import re

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))


def read(*parts):
    """Return the text of a file of this folder."""
    with open(os.path.join(HERE, *parts), 'rb') as file:
        return file.read().decode('utf-8')


def version():
    """Return the version without importing the package, whose requirements may not be there yet."""
    return re.search(r"^VERSION = '([^']+)'", read('market_maker', 'utils', 'constants.py'), re.MULTILINE).group(1)


def readme():
    """Return the README; a tree that has none yet builds all the same."""
    return read('README.md') if os.path.exists(os.path.join(HERE, 'README.md')) else ''


class BuildWithDefaults(build_py):
    """Puts the text of settings_base.py into the package as _settings_base.py.

    So a wheel installs no top-level settings_base, and every copy of the package carries its own defaults.
    """

    def run(self):
        """Build as usual, then replace the pointer to settings_base.py by its text."""
        build_py.run(self)
        if getattr(self, 'editable_mode', False):
            return
        with open(os.path.join(self.build_lib, 'market_maker', '_settings_base.py'), 'wb') as file:
            file.write(read('settings_base.py').encode('utf-8'))


TESTNET = ['aiohttp>=3.8; python_version >= "3.9"']
SPEED = ['orjson; python_version >= "3.8"', 'httptools; python_version >= "3.8"']
TEST = [
    'pytest',
    'pytest-cov',
    'pytest-xdist',
    'hypothesis',
    'ruff; python_version >= "3.9"',
    'mypy; python_version >= "3.9"',
    'types-requests; python_version >= "3.9"',
    'vermin; python_version >= "3.9"',
    'schemathesis; python_version >= "3.11"',   # brings jsonschema-rs, with which answers are validated
    'setuptools',
    'wheel',
]
DOCS = ['sphinx; python_version >= "3.9"', 'myst-parser; python_version >= "3.9"']

setup(
    name='bitmex-market-maker',
    version=version(),
    description='A market-making bot for the BitMEX API, with a local exchange to run it against',
    long_description=readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.5',
    packages=find_packages(include=['market_maker', 'market_maker.*']),
    package_data={'market_maker': ['py.typed']},
    include_package_data=False,
    zip_safe=False,
    # future is there for strategies of the classic bot, which import from it
    install_requires=['requests>=2.25.1', 'websocket-client>=0.59.0', 'future'],
    extras_require={
        'testnet': TESTNET,
        'speed': SPEED,
        'test': TEST,
        'docs': DOCS,
        'all': TESTNET + SPEED + TEST + DOCS,
    },
    entry_points={'console_scripts': ['marketmaker = market_maker:run']},
    cmdclass={'build_py': BuildWithDefaults},
    classifiers=[
        'Environment :: Console',
        'Intended Audience :: Financial and Insurance Industry',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Topic :: Office/Business :: Financial :: Investment',
    ],
)
