"""What every HTTP application shares: one way to be made, one login check, one format of errors."""
