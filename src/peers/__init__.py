"""Several front ends over Redis: what they say to each other (`--redis`), and what each does with it.

    messages     what is said, in bytes and checked; pure
    redis/       the way there: the process that talks to Redis, and the server's end of it
    front_ends   who is there, and their lists of streams
    telling      our own streams, for their lists
    showing      frames of ours that somebody looks at there
    predicting   predictions of ours that somebody follows there
    watching     those of theirs that somebody here looks at, or follows
    rooms        texts of /ws
    sharing      all of it, built
    forever      what runs on after an error

Redis keeps nothing: it is a place where front ends hear each other. Who is silent for `--redis-silence` is gone, with
all that it told. Frames go over it only while somebody at another front end looks at that camera.
"""
