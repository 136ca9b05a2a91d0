"""The shapes on the wire, a file per resource. Inputs refuse what they do not know; outputs have no optional fields."""
