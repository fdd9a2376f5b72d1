"""One process that answers and keeps live viewers: the server, the bridge to WSGI, cached answers, and the hub."""
