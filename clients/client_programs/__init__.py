"""What the client programs stand on, beside the library `imageserver_client`; each serves one's own programs as well.

command     options and exit codes that the programs share
credentials a login over plain HTTP, and what a server says that refuses it
session     a session over Socket.IO
relay       the WebSocket of Snap
rest        networks by name, and pictures by PUT; nothing but Python
xray        the legacy TCP commands; nothing but Python
sources     frames from pictures, videos, webcams and network cameras
report      what people and machines are told of predictions
"""

from imageserver_client.errors import HINTS

# Here sentences name options of a command line.
HINTS["ca"], HINTS["ca file"], HINTS["insecure"] = "--ca", "--ca FILE", "--insecure"
PASSWORD = "the password is asked for, or taken from CAMERA_PASSWORD or --password. A token does as well: --token"
HINTS["login"] = f"--user NAME; {PASSWORD}"
