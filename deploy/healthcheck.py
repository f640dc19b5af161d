"""Exit code 0 when the server in this container is ready, else 1 and one line that says why.

It asks the port that the server's own settings name (IMAGESERVER_PORT, IMAGESERVER_TLS, IMAGESERVER_CONFIG, .env).
"""

import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
import bootstrap

bootstrap.provide_package()

from imageserver.config import reading
from imageserver.errors import ImageServerError


def main() -> int:
    try:
        found = reading.read([], os.environ)
    except ImageServerError as error:
        print(error)
        return 1
    context = ssl.create_default_context()
    # It asks itself, by an address that its certificate need not name.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"{'https' if found.tls else 'http'}://127.0.0.1:{found.port}/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=4, context=context) as answer:
            print(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            print(error.read(200).decode(errors="replace"))
        return 1
    except OSError as error:
        print(f"{url} does not answer: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
