"""Models on a cluster: a process of the server's asks Ray for replicas, and each is a worker process on some node.

On the server's machine: `main.py` is the program, a worker that has several batches under way; `fleet.py` keeps the
replicas, `autoscaler.py` says how many, `bundle.py` is what they need of the models folder, and `connection.py` is the
only module that imports Ray. On a node: `node.py` is what an actor does, `store.py` keeps the files of models, and
`child.py` runs the very worker program of a server, in its jail.
"""
