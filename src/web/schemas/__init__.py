"""What bodies, answers and parameters of HTTP look like, for the OpenAPI document."""
