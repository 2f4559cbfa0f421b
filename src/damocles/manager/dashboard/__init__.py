"""The manager in a browser: pages on the same data, with the same tokens, scopes and acts as the command line."""
