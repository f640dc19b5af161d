"""What the client programs stand on; each module serves a program of one's own as well.

errors      what can go wrong: one tree
connection  an address, whom to believe over HTTPS, and why there is no connection
command     options and exit codes that the programs share
link        a Socket.IO connection; on it camera (CamStream) and session (sessions)
relay       the WebSocket of Snap
rest        networks by name, and pictures by PUT; nothing but Python
xray        the legacy TCP commands; nothing but Python
sources     frames from pictures, videos, webcams and network cameras
report      what people and machines are told of predictions
"""
