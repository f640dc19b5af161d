"""What a manifest says of a model that runs on other machines; below the wall, `inference/worker/remote/` asks them."""
