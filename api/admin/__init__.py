"""The operator's endpoints; every one takes the `admin` scope."""
