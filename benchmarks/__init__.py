"""Quality and speed, measured from outside: every benchmark talks to the REST API over HTTP, as a caller
would.

Each is one command (`memos eval NAME ...` or `python -m benchmarks NAME ...`) that prints a table and writes
its figures and raw output as JSON. None of them is part of the tests, and nothing here is imported by the
service.
"""
