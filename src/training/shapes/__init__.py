"""How `shapes`, the small detector, was trained."""
