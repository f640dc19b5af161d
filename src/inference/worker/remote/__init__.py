"""Models that another server runs: this process decodes and prepares, or passes pictures on, and asks it.

`endpoints.py` chooses whom to ask, `http.py` and `grpc.py` do so, `messages.py` and `proto.py` are what is said, and
`main.py` is the program, a worker that has several batches under way.
"""
