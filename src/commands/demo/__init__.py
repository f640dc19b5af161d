"""`imageserver demo`: a server with sample cameras, to look at in a browser.

main      starts and ends the other two, and tells what happens
server    the server, a process of its own
cameras   all cameras, in one process, over the clients' library
scenes    what the cameras see
samples   the pictures that this is made from
"""
