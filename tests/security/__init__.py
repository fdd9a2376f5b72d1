"""What attackers try, one module for each kind of them; threats.py says where every threat is met."""
