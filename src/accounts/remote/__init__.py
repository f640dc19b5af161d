"""Users of several front ends, as the server asks for them: by a process of its own (postgresql/), waiting green."""
