"""What several front ends tell each other over one Redis: measured in parts, simulated, and compared with real runs.

    real        real front ends as far as they tell each other: src/peers/ itself, in processes
    measuring   what each part of that takes
    threads     of the simulation: what works through what it is given, and what sleeps between two steps
    broker      the simulated Redis: one thread, a network, and whom it throws out
    front_end   a simulated front end, which says what src/peers/ says, when it says it
    world       all of them, and what is seen of them
    outage      what it costs that Redis is gone for a while
    full        what is full first when there are more and more front ends
    figures     what docs/scale.md says of it
    check       measures the parts, and compares the simulation with real runs

Not in it: frames and predictions that somebody looks at elsewhere, cameras that come and go, sessions, front ends that
are started anew, a network that loses what it was given.
"""
