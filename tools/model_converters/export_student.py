"""The same as ``mmhgkd export``."""

import sys

from mmhgkd.cli.export import main

if __name__ == '__main__':
    sys.exit(main())
