"""From a decoded picture to the array that a model takes."""
