"""The manager: hands out sectors, talks to the chain, and knows the fleet. It never imports the worker."""
