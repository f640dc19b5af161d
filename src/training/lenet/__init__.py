"""How LeNet was trained."""
