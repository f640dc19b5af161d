"""The inference engine: server/ above the process wall, worker/ below it, shared/ on it."""

if __name__ == "inference":  # found by its name of before 0.2, with src/ on the path
    import bootstrap

    bootstrap.start()
    from imageserver.inference import old_names

    old_names.install()
