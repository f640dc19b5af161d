"""Processes beside the server that hold a client library which blocks: of PostgreSQL, or of whatever else is shared.

The server starts one (process.py) and asks it by wire messages (inference/shared/wire.py); the program answers in
threads (program.py). Messages, from the server:

    {"op": "open", …}                           the first: what it is to work with; secrets stand on no command line
    {"op": "ask", "id": int, "what": str, "with": str}      the last: JSON of a list, in ASCII, since a client's text
                                                            may hold half of a surrogate pair, which UTF-8 cannot
    {"op": "stop"}
and from the program:
    {"op": "answer", "id": int, "value": …}     and "more": true, where "value" is a list that goes on
    {"op": "answer", "id": int, "error": {"kind": str, "sentence": str, …}}
    {"op": "told", "what": str, "with": …}      what the server has not asked for
    {"op": "failed", "error": str}              it cannot work here at all, and ends: it is not started again
"""
