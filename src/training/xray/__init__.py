"""How the chest X-ray models were trained."""
