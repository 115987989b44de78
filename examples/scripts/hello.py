"""Says hello word by word, to show that output arrives while the code still runs."""

import os
import sys
import time

for word in ("Hello", "from", "worker", str(os.getpid())):
    print(word, end=" ", flush=True)
    time.sleep(0.2)
print()
print("and from stderr", file=sys.stderr)
