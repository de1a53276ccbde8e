"""The same as ``mmhgkd test``."""

import sys

from mmhgkd.cli.test import main

if __name__ == '__main__':
    sys.exit(main())
