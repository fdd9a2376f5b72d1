"""What people read in a terminal stands in columns."""
from relay.aligned import aligned


def test_columns_are_as_wide_as_their_widest_cell():
    assert aligned([["in force", "push", "main/laptop"], ["revoked", "read", "main", "phone"]]) == ["in force  push  main/laptop", "revoked   read  main         phone"]


def test_nothing_has_no_lines():
    assert aligned([]) == []
