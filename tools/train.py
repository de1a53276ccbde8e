"""The same as ``mmhgkd train``."""

import sys

from mmhgkd.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
