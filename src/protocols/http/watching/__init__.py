"""Looking at streams over plain HTTP: pictures, motion JPEG and server-sent events, for programs of all kinds."""
