"""Everything between the archive and the relay: what must be sent, what it may tell, how it goes, and what the answer means."""
