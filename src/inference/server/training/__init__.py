"""Training jobs above the wall: who may start one, how it gets on, and what becomes of the model that comes out."""
