"""The read API without a framework: what may be asked, what is answered, and the description of both."""
