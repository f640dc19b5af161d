"""The live page's one connection, `/live`: what a page says on it and what it is sent (docs/protocols.md#live)."""
