"""One table of settings: command line, environment, TOML file and docs/settings.md come from it."""
