"""The same as ``mmhgkd demo``."""

import sys

from mmhgkd.cli.demo import main

if __name__ == '__main__':
    sys.exit(main())
