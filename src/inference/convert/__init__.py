"""From a model as people have it to one that OpenVINO runs: inspection, conversion, its cache."""
