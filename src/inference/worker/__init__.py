"""Below the process wall: programs that load models, decode pictures, run batches and answer."""
