"""The attnsieve command line."""
