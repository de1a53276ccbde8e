"""The same as ``mmhgkd report``."""

import sys

from mmhgkd.cli.report import main

if __name__ == '__main__':
    sys.exit(main())
