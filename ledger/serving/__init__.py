"""One process that answers and keeps live viewers: the server, the bridge to WSGI, kept answers, and the hub."""
